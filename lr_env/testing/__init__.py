"""`check_task`: is a task of your own sound?"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from lr_env.errors import LrEnvError, TaskError
from lr_env.tasks import Task, make_task
from lr_env.testing.checks import CHECKS, TaskMaker

__all__ = ["check_task"]


def check_task(task: Task | str | TaskMaker, seeds: Sequence[int] = (0, 1)) -> None:
    """Check that a task keeps the promises that environments and evaluations build on.

    Args:
        task: a registered name, or what builds an instance from a seed (the class, say), or an
            instance: that one is looked at as it is, so that nothing is learned of other seeds.
        seeds: of the instances that are looked at.

    Raises:
        TaskError: with every broken promise, one a line, and its remedy.
        LrEnvError: the name is unknown, or the task itself says what keeps it from being built.
    """
    if isinstance(task, Task):
        seeds = (task.seed,)
    make = _maker(task)
    with _global_generators_kept():
        # A dict keeps the order and says once what holds for every seed.
        problems = dict.fromkeys(own for seed in seeds for own in _problems(make, seed))
    if problems:
        raise TaskError("This task is not sound:\n" + "\n".join(f"- {own}" for own in problems))


def _maker(task: Task | str | TaskMaker) -> TaskMaker:
    if isinstance(task, Task):
        return lambda seed: copy.copy(task)
    if isinstance(task, str):
        return lambda seed: make_task(task, seed=seed)
    return task


def _problems(make: TaskMaker, seed: int) -> Iterator[str]:
    try:
        make(seed)
    except LrEnvError:
        raise
    except Exception as error:
        yield f"it cannot be built from a seed alone ({_said(error)}): mend its constructor."
        return
    for check in CHECKS:
        try:
            yield from check(make, seed)
        except Exception as error:
            # A check that cannot even run is a finding about the task, whatever it raised.
            yield f"{check.__name__} cannot be checked ({_said(error)}): mend what raises that."


def _said(error: Exception) -> str:
    """Return type and message of `error` on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


@contextmanager
def _global_generators_kept() -> Iterator[None]:
    """Put torch's, NumPy's and Python's global generators back: dropout and tasks draw here."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
