"""Convergence time: epochs until a stated validation accuracy is first reached.

Readings are at 20 points of the budget, so times are multiples of a twentieth of it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from experiments.statistics import paired_difference

FEWEST_PAIRS = 3


def epochs_to_target(points: Sequence[Mapping[str, Any]], target: float) -> float | None:
    """Return the epochs at the first reading with that accuracy; None if it is never reached."""
    for point in points:
        accuracy = point.get("accuracy")
        if accuracy is not None and accuracy >= target:
            return float(point["epochs"])
    return None


def summarise_convergence(times: Sequence[float | None]) -> dict[str, Any]:
    """Return how many runs got there and the median time; None where half of them never do."""
    median = statistics.median(math.inf if time is None else time for time in times)
    return {
        "reached": sum(time is not None for time in times),
        "runs": len(times),
        "median_epochs": median if math.isfinite(median) else None,
    }


def compare_convergence(
    own: Sequence[float | None], other: Sequence[float | None], test_share: float | None = None
) -> dict[str, Any]:
    """Return how two arms' times compare, paired by seed: those that both of them have.

    Seeds in which one of them never got there are counted, not compared. `speedup` is the
    geometric mean of the other's time over one's own; `interval` that of the mean difference in
    epochs (None with fewer than three pairs), `test_share` its correction for overlapping splits.
    """
    both = list(zip(own, other, strict=False))
    pairs = [(a, b) for a, b in both if a is not None and b is not None]
    found: dict[str, Any] = {
        "both": len(pairs),
        "only_own": sum(a is not None and b is None for a, b in both),
        "only_other": sum(a is None and b is not None for a, b in both),
        "speedup": None,
        "interval": None,
        "p_value": None,
    }
    if pairs:
        found["speedup"] = math.exp(statistics.fmean(math.log(b / a) for a, b in pairs))
    if len(pairs) >= FEWEST_PAIRS:
        difference = paired_difference(
            [a for a, _ in pairs], [b for _, b in pairs],
            higher_is_better=False, test_share=test_share,
        )  # fmt: skip
        found.update(interval=asdict(difference.interval), p_value=difference.p_value)
    return found
