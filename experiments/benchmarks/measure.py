"""Timing: subjects take turns, and the median of their rates is what counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

ROUNDS = 5
SECONDS = 0.6


def steps_per_second(subjects: Mapping[str, Callable[[], int]]) -> dict[str, float]:
    """Return each subject's median rate over interleaved rounds: a noisy machine hits all."""
    rates: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            rates[name].append(_rate(subject))
    return {name: statistics.median(own) for name, own in rates.items()}


def floor() -> dict[str, float]:
    """Return what the machine does at best: GFLOP/s of a matrix product, GB/s of a copy."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    source, target = torch.randn(1 << 24), torch.empty(1 << 24)

    def product() -> int:
        torch.mm(left, right)
        return 2 * 1024**3

    def copy() -> int:
        target.copy_(source)
        return 2 * source.nbytes

    rates = steps_per_second({"product": product, "copy": copy})
    return {"gflops": rates["product"] / 1e9, "gigabytes": rates["copy"] / 1e9}


def _rate(subject: Callable[[], int]) -> float:
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SECONDS:
        done += subject()
    return done / elapsed
