"""Random subsets of stored rows, each class in the same shares in all of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lr_env.randomness import numpy_generator
from lr_env.tasks.base import Split
from lr_env.tasks.scales import Recipe
from lr_env.tasks.sources import data_error

Part = Literal["train", "test"]
PARTS: tuple[Part, ...] = ("train", "test")
"""The parts that a data set is stored in; validation rows are drawn from the first."""


def draw_rows(
    name: str, labels: Mapping[Part, Tensor], recipe: Recipe, seed: int
) -> dict[Split, Tensor]:
    """Return row numbers: training and validation in the part train, test in the part test.

    The test rows are the same for every seed. Raises DataError where `recipe` takes more rows
    than there are.
    """
    stored = {part: len(own) for part, own in labels.items()}
    train = max(1, stored["train"] - recipe.validation) if recipe.train is None else recipe.train
    test = stored["test"] if recipe.test is None else recipe.test
    spent = recipe.test_spent
    taken: dict[Part, int] = {"train": train + recipe.validation, "test": spent + test}
    for part, wanted in taken.items():
        if wanted > stored[part]:
            raise data_error(
                name,
                f"its {part} rows are {stored[part]} where this scale takes {wanted} (a smaller "
                "scale takes fewer)",
            )
    sizes, numbers = (train, recipe.validation), {part: own.numpy() for part, own in labels.items()}
    first, second = stratified_subsets(numbers["train"], sizes, seed, "training rows")
    _, third = stratified_subsets(numbers["test"], (spent, test), 0, "test rows")
    return {
        "train": torch.from_numpy(first),
        "validation": torch.from_numpy(second),
        "test": torch.from_numpy(third),
    }


def stratified_subsets(
    labels: NDArray[np.int64], sizes: Sequence[int], seed: int, stream: str
) -> list[NDArray[np.int64]]:
    """Return disjoint random row numbers, one array for each of `sizes`.

    Rows are put in an order in which the classes alternate by their shares: any stretch of it
    holds each class as often as its share says, but for one or two. `sizes` add up to at most
    the number of `labels`.
    """
    random = numpy_generator(seed, stream)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        place[own] = (np.arange(len(own)) + random.random()) / len(own)
    order = np.argsort(place, kind="stable")
    ends = np.cumsum([0, *sizes])
    return [order[start:end] for start, end in itertools.pairwise(ends)]
