"""Scales: how many rows, drawn how, and that held-out rows stay held out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lr_env.errors import DataError, UnknownNameError
from lr_env.tasks import SCALES
from lr_env.tasks.cifar10 import Cifar10
from lr_env.tasks.imdb import Imdb
from lr_env.tasks.scales import Recipe, recipe_at
from lr_env.tasks.sst2 import Sst2
from lr_env.tasks.subsets import draw_rows, stratified_subsets

LABELS = {
    "train": torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor([600, 300, 100])),
    "test": torch.tensor([0, 1, 2]).repeat_interleave(40),
}


def recipe(train: int | None, validation: int, test: int | None) -> Recipe:
    return Recipe(train, validation, test, 1, 8, 0.5)


def test_subsets_are_disjoint_of_the_sizes_asked_for_and_stratified() -> None:
    labels = LABELS["train"].numpy()
    subsets = stratified_subsets(labels, (70, 33, 500), 0, "rows")
    assert [len(own) for own in subsets] == [70, 33, 500]
    assert len(set(np.concatenate(subsets))) == 603
    for own in subsets:
        expected = len(own) * np.array([0.6, 0.3, 0.1])
        assert np.abs(np.bincount(labels[own]) - expected).max() <= 2


def test_every_row_is_taken_as_often_as_any_other() -> None:
    labels = np.repeat([0, 1], [30, 10])
    taken = np.zeros(40)
    for seed in range(400):
        taken[stratified_subsets(labels, (10,), seed, "rows")[0]] += 1
    # Binomial with p = 1/4: 100 times each, deviation 8.7.
    assert np.abs(taken - 100).max() < 5 * 8.7


def test_spent_test_rows_are_those_that_were_read_before() -> None:
    before = draw_rows("toy", LABELS, recipe(200, 50, 30), 1)
    after = draw_rows("toy", LABELS, replace(recipe(200, 50, 60), test_spent=30), 1)
    assert len(after["test"]) == 60
    assert not set(after["test"].tolist()) & set(before["test"].tolist())
    assert torch.equal(after["train"], before["train"])
    with pytest.raises(DataError, match="where this scale takes 121"):
        draw_rows("toy", LABELS, replace(recipe(200, 50, 91), test_spent=30), 1)


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [(recipe(200, 50, 60), (200, 50, 60)), (recipe(None, 100, None), (900, 100, 120))],
)
def test_validation_is_drawn_from_training_rows_and_test_rows_never_change(
    asked: Recipe, sizes: tuple[int, int, int]
) -> None:
    one, again, other = (draw_rows("toy", LABELS, asked, seed) for seed in (1, 1, 2))
    assert tuple(len(one[split]) for split in ("train", "validation", "test")) == sizes
    assert all(torch.equal(one[split], again[split]) for split in one)
    assert not set(one["train"].tolist()) & set(one["validation"].tolist())
    assert max(one["validation"]) >= len(LABELS["test"]), "rows of the part train"
    assert not torch.equal(one["validation"], other["validation"])
    assert torch.equal(one["test"], other["test"])


@pytest.mark.parametrize("asked", [recipe(990, 20, 1), recipe(None, 2_000, 1), recipe(1, 1, 121)])
def test_more_rows_than_there_are_is_one_sentence(asked: Recipe) -> None:
    with pytest.raises(DataError, match="a smaller scale takes fewer") as caught:
        draw_rows("toy", LABELS, asked, 0)
    assert "\n" not in str(caught.value)


def test_unknown_scales_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'paper'"):
        recipe_at("papers", Cifar10.recipes)
    with pytest.raises(UnknownNameError, match="Unknown scale"):
        recipe_at("", Cifar10.recipes)


@pytest.mark.parametrize("task", [Cifar10, Imdb, Sst2])
def test_every_scale_has_a_recipe_and_the_paper_takes_every_row(
    task: type[Cifar10 | Imdb | Sst2],
) -> None:
    assert tuple(task.recipes) == SCALES
    assert task.recipes["paper"].train is None
    assert task.recipes["paper"].test is None
    epochs = [task.recipes[scale].epochs for scale in ("quick", "paper")]
    assert epochs == sorted(epochs)
