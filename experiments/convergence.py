"""Convergence time: epochs until a stated validation accuracy is first reached."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


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
