"""Base schedules: the learning rate that a zero action leaves untouched."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lr_env.errors import InvalidArgumentError, UnknownNameError

Schedule = Callable[[int, int], float]
"""Maps (step, total_steps) to a factor on the base learning rate."""


def constant(step: int, total_steps: int) -> float:
    """Return 1 at every step."""
    return 1.0


def cosine(step: int, total_steps: int) -> float:
    """Return half a cosine from 1 to 0 (Loshchilov and Hutter 2017, eq. 5, one cycle)."""
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / total_steps)))


def linear(step: int, total_steps: int) -> float:
    """Return a linear warm-up over a tenth of the steps, then linear decay to 0."""
    warmup = max(1, total_steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup))


def warmup_stable_decay(step: int, total_steps: int) -> float:
    """Return a linear warm-up (a tenth), a plateau, and linear decay over the last fifth."""
    warmup, decay = max(1, total_steps // 10), max(1, total_steps // 5)
    if step < warmup:
        return (step + 1) / warmup
    return min(1.0, max(0.0, (total_steps - step) / decay))


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "wsd": warmup_stable_decay,
}


def resolve_schedule(schedule: Any) -> Schedule:
    """Return the schedule of that name, or the callable itself.

    Raises UnknownNameError or InvalidArgumentError.
    """
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise UnknownNameError("schedule", schedule, SCHEDULES)
        return SCHEDULES[schedule]
    if not callable(schedule):
        raise InvalidArgumentError(
            f"base_schedule is a name ({', '.join(SCHEDULES)}) or a function of (step, "
            f"total_steps), not {schedule!r}."
        )
    return schedule  # type: ignore[no-any-return]
