"""Timing: subjects take turns, and the median of their rates is what counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

ROUNDS = 5
SECONDS = 0.4

Name = TypeVar("Name")


def rate(subject: Callable[[], float], seconds: float = SECONDS) -> float:
    """Return what `subject` does a second, called for so long, and once at least."""
    done, started = 0.0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or not done:
        done += subject()
    return done / elapsed


def medians(
    timed: Mapping[Name, Callable[[], float]],
    rounds: int = ROUNDS,
    after: Callable[[float], None] = lambda share: None,
) -> dict[Name, float]:
    """Return each one's median over interleaved rounds: a noisy machine hits all.

    `after` is told what share of the rounds is done.
    """
    found: dict[Name, list[float]] = {name: [] for name in timed}
    for turn in range(rounds):
        for name, own in timed.items():
            found[name].append(own())
        after((turn + 1) / rounds)
    return {name: statistics.median(own) for name, own in found.items()}


def rates(
    subjects: Mapping[Name, Callable[[], float]], rounds: int = ROUNDS, seconds: float = SECONDS
) -> dict[Name, float]:
    """Return what each subject does a second, the median of interleaved rounds."""
    return medians({name: partial(rate, own, seconds) for name, own in subjects.items()}, rounds)
