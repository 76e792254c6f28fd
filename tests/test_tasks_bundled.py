"""Tasks on scikit-learn's data: splits and scaling."""

import numpy as np
import pytest
import sklearn.datasets
import torch

from lr_env.tasks import SPLITS, Split, make_task
from lr_env.tasks.table import SHARES, standardise, stratified_rows


@pytest.mark.parametrize("name", ["digits", "wine", "breast_cancer"])
def test_splits_are_fixed_by_the_seed_and_differ_between_seeds(name: str) -> None:
    one, again, other = make_task(name, seed=3), make_task(name, seed=3), make_task(name, seed=4)
    for split in SPLITS:
        assert torch.equal(one.tensors(split)[0], again.tensors(split)[0])
        assert one.size(split) == other.size(split)
    assert not torch.equal(one.tensors("test")[1], other.tensors("test")[1])


def test_rows_are_split_once_and_in_the_shares_of_the_classes() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    rows = stratified_rows(labels, 0)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(160))
    for split, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        counts = np.bincount(labels[rows[split]])
        assert counts.tolist() == [round(share * count) for count in (100, 50, 10)]


def test_scales_come_from_the_training_rows_alone() -> None:
    inputs = np.random.default_rng(0).normal(size=(20, 3))
    train = np.arange(12)
    scaled = standardise(inputs, train)
    assert np.allclose(scaled[train].mean(0), 0)
    assert np.allclose(scaled[train].std(0), 1)
    inputs[15] = 1e6
    assert np.array_equal(standardise(inputs, train)[train], scaled[train])


def test_a_constant_column_stays_finite() -> None:
    assert np.isfinite(standardise(np.ones((5, 2)), np.arange(3))).all()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_rows_do_not_touch_the_training_inputs(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, labels = sklearn.datasets.load_wine(return_X_y=True)
    before = make_task("wine", seed=0)
    changed = inputs.copy()
    changed[stratified_rows(labels, 0)[split][0]] = 1e6
    monkeypatch.setattr("sklearn.datasets.load_wine", lambda **_: (changed, labels))
    after = make_task("wine", seed=0)
    assert torch.equal(after.tensors("train")[0], before.tensors("train")[0])
    assert not torch.equal(after.tensors(split)[0], before.tensors(split)[0])
    assert after.describe()["hash"] != before.describe()["hash"]


@pytest.mark.parametrize("name", ["digits", "wine", "breast_cancer"])
def test_splits_are_disjoint_and_stratified(name: str) -> None:
    task = make_task(name, seed=0)
    rows = [row.numpy().tobytes() for split in SPLITS for row in task.tensors(split)[0]]
    assert len(set(rows)) == len(rows)
    whole = torch.cat([task.tensors(split)[1] for split in SPLITS])
    for split, share in SHARES.items():
        counts = torch.bincount(task.tensors(split)[1])
        assert (counts - share * torch.bincount(whole)).abs().max() <= 1.0
