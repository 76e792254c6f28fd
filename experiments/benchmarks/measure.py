"""Timing: subjects take turns, and the median of their rates is what counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 5
SECONDS = 0.6


def steps_per_second(subjects: Mapping[str, Callable[[], int]]) -> dict[str, float]:
    """Return each subject's median rate over interleaved rounds: a noisy machine hits all."""
    rates: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            rates[name].append(_rate(subject))
    return {name: statistics.median(own) for name, own in rates.items()}


def _rate(subject: Callable[[], int]) -> float:
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SECONDS:
        done += subject()
    return done / elapsed
