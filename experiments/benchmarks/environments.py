"""Environments made ready to be timed: begun, past their first decisions, their ends spread."""

from __future__ import annotations

import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from experiments.benchmarks.architectures import ENDING

_FIRST = 5
"""Decisions until they are `STEPS_PER_ACTION` apart, and all is compiled that they need."""


@dataclass(frozen=True)
class Ready:
    """What it took until a subject was ready.

    Attributes:
        reset: seconds to build it and to begin all trainings; None for loops.
        first: seconds of its first decisions, of a loop's first steps: its compilation, if it is
            compiled.
        peak: of the process's memory then, bytes; of the GPU's where it is on one.
        warning: what it had to say, or nothing.
    """

    reset: float | None = None
    first: float | None = None
    peak: int | None = None
    warning: str | None = None


@contextmanager
def environments(make: Callable[[], Any]) -> Iterator[tuple[Any, Ready]]:
    """Make environments, begin them and take the first decisions; close them in the end."""
    began = time.perf_counter()
    envs = make()
    try:
        envs.reset(seed=0)
        reset = time.perf_counter() - began
        with warnings.catch_warnings(record=True) as heard:
            for _ in range(_FIRST):
                decide(envs, 0.0)
        first = time.perf_counter() - began - reset
        # Our own say that it could not be compiled.
        own = [str(one.message) for one in heard if issubclass(one.category, RuntimeWarning)]
        yield envs, Ready(reset, first, _peak(), own[0] if own else None)
    finally:
        envs.close()


def decide(envs: Any, steps: float) -> float:
    """Take one decision, which changes nothing, and return what was said that it is worth."""
    envs.step(np.zeros(envs.action_space.shape, dtype=np.float32))
    return steps


def stagger(envs: Any, num: int) -> None:
    """Begin trainings anew at decisions of their own, so that their ends are spread evenly."""
    turns = np.arange(num) * ENDING // num
    for turn in range(ENDING):
        decide(envs, 0.0)
        if (turns == turn).any():
            envs.reset(options={"reset_mask": turns == turn})


def _peak() -> int:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kibibytes, but bytes on macOS.
    return peak if sys.platform == "darwin" else peak * 1024
