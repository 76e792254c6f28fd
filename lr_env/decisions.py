"""When the agent decides: densely at first, then every `steps_per_action` mini-batches."""

from __future__ import annotations

from torch import Tensor

from lr_env.arguments import check_count, check_whole
from lr_env.errors import InvalidArgumentError

DECISIONS_BY_DEFAULT = 200


def default_steps_per_action(total_steps: int) -> int:
    """Return the interval that gives a training of any length about 200 decisions."""
    return max(1, total_steps // DECISIONS_BY_DEFAULT)


def check_horizon(total_steps: int, steps_per_action: int) -> None:
    """Raise InvalidArgumentError unless both are whole numbers of at least 1."""
    check_whole("total_steps", total_steps)
    check_count("steps_per_action", steps_per_action)
    if total_steps < 1:
        raise InvalidArgumentError(
            f"total_steps must be at least 1, not {total_steps}: hand over the number of optimizer "
            "steps that the training will take (batches per epoch times epochs)."
        )


def samples_met(total_steps: Tensor, steps_per_epoch: float, batch_size: int) -> Tensor:
    """Return how many samples trainings of `total_steps` `[...]` meet, each counted once."""
    return total_steps.clamp(max=steps_per_epoch) * batch_size


def interval(step: int, steps_per_action: int, total_steps: int) -> int:
    """Return the number of updates from the decision at `step` to the next one.

    Decisions come at steps 0, 1, 2, 4, ... until they are `steps_per_action` apart: nothing
    is known of a training at its start, and a wrong rate does its harm there.
    """
    return max(1, min(step, steps_per_action, total_steps - step))


def intervals(step: Tensor, steps_per_action: int, total_steps: Tensor) -> Tensor:
    """Return `interval` for every training of a stack: `step`, `total_steps` `[N]` to `[N]`."""
    return step.clamp(max=steps_per_action).minimum(total_steps - step).clamp(min=1)


def total_steps_of(num_decisions: int, steps_per_action: int) -> int:
    """Return the optimizer steps that `num_decisions` decisions take."""
    check_count("num_decisions", num_decisions)
    check_count("steps_per_action", steps_per_action)
    step = 0
    for decision in range(num_decisions):
        if step >= steps_per_action:
            return step + (num_decisions - decision) * steps_per_action
        step += max(1, min(step, steps_per_action))
    return step
