"""Tasks on scikit-learn's data: splits, scaling, names."""

import numpy as np
import pytest
import torch

from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.tasks import SPLITS, make_task, register_task, task_names
from lr_env.tasks.table import standardise, stratified_rows
from tests.toys import ToyTask


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


def test_unknown_tasks_and_arguments_are_one_sentence() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'titanic'"):
        make_task("titanc")
    with pytest.raises(InvalidArgumentError, match="colour"):
        make_task("digits", colour="red")
    with pytest.raises(InvalidArgumentError, match="seed"):
        make_task("digits", seed=-1)


def test_a_task_of_ones_own_is_registered_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lr_env.tasks.registry._FACTORIES", {})
    register_task("mine", ToyTask)
    assert task_names() == ["mine"]
    assert make_task("mine", seed=5, architecture="dropout").seed == 5
    with pytest.raises(InvalidArgumentError, match="letters"):
        register_task("../mine", ToyTask)
