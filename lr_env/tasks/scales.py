"""Scales of the tasks on real data: seconds, two cores, or the experiment plan in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

from lr_env.errors import UnknownNameError

Scale = Literal["smoke", "quick", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)
DEFAULT_SCALE: Scale = "quick"


@dataclass(frozen=True)
class Recipe:
    """How much of the stored rows a scale takes, and how it trains on them.

    Attributes:
        train: training rows, drawn by the seed; all that validation leaves if None.
        validation: rows drawn from the stored training rows too.
        test: rows, the same for every seed; all that are stored if None.
        target_accuracy: validation accuracy whose first reaching is the convergence time.
        test_spent: test rows that are drawn before these and left out, because results of
            earlier policies on them are known.
    """

    train: int | None
    validation: int
    test: int | None
    epochs: int
    batch_size: int
    target_accuracy: float
    test_spent: int = field(default=0, kw_only=True)


AnyRecipe = TypeVar("AnyRecipe")


def recipe_at(scale: str, recipes: Mapping[Scale, AnyRecipe]) -> tuple[Scale, AnyRecipe]:
    """Return `scale` and its recipe. Raises UnknownNameError for any other word."""
    for name, recipe in recipes.items():
        if name == scale:
            return name, recipe
    raise UnknownNameError("scale", str(scale), SCALES)
