"""Instances: what a training draws anew at every reset, in one order for env and stack."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lr_env.errors import InvalidArgumentError
from lr_env.tasks import Task, make_task

BaseRate = float | tuple[float, float]
"""A base learning rate, or the range (low, high) that one is drawn from log-uniformly."""


@dataclass(frozen=True)
class Instance:
    """The seed of a training (data, initial weights, order) and its base learning rate."""

    seed: int
    base_lr: float

    @classmethod
    def first(cls, base_lr: BaseRate) -> Instance:
        """Return an instance fit for finding out shapes."""
        return cls(0, base_lr[0] if isinstance(base_lr, tuple) else base_lr)


def draw_instance(generator: np.random.Generator, base_lr: BaseRate) -> Instance:
    """Draw the next instance."""
    seed = int(generator.integers(2**31))
    if isinstance(base_lr, tuple):
        low, high = (math.log(rate) for rate in base_lr)
        base_lr = math.exp(generator.uniform(low, high))
    return Instance(seed, base_lr)


def check_base_lr(base_lr: BaseRate) -> None:
    """Raise InvalidArgumentError unless `base_lr` is a positive rate or range of them."""
    rates = base_lr if isinstance(base_lr, tuple) else (base_lr, base_lr)
    numbers = all(isinstance(rate, int | float | np.floating) for rate in rates)
    if not numbers or len(rates) != 2 or not 0.0 < rates[0] <= rates[1] < math.inf:
        raise InvalidArgumentError(
            f"base_lr is a positive rate or a range (low, high) of them, not {base_lr!r}."
        )


def build_task(
    task: str | Task | Callable[[int], Task], seed: int, arguments: Mapping[str, Any]
) -> Task:
    """Return the instance of `task` for `seed`; a `Task` is its own at every seed.

    Raises:
        LrEnvError: an unknown name or argument, or no task.
    """
    if isinstance(task, str):
        if "seed" in arguments:
            raise InvalidArgumentError(
                "task_arguments hold no seed: every training's own comes from reset(seed=...)."
            )
        return make_task(task, seed=seed, **arguments)
    built = task(seed) if callable(task) and not isinstance(task, Task) else task
    if not isinstance(built, Task):
        raise InvalidArgumentError(
            "task is a registered name, a Task, or a function of the seed that returns one, not "
            f"an object of type {type(built).__name__}."
        )
    return built
