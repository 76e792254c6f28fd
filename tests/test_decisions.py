"""When the agent decides."""

import pytest
import torch

from lr_env.decisions import (
    check_horizon,
    default_steps_per_action,
    interval,
    intervals,
    total_steps_of,
)
from lr_env.errors import InvalidArgumentError


def decision_steps(total_steps: int, steps_per_action: int) -> list[int]:
    steps, step = [], 0
    while step < total_steps:
        steps.append(step)
        step += interval(step, steps_per_action, total_steps)
    assert step == total_steps
    return steps


def test_dense_at_first_then_regular() -> None:
    assert decision_steps(40, 8) == [0, 1, 2, 4, 8, 16, 24, 32]
    assert decision_steps(5, 1) == [0, 1, 2, 3, 4]
    assert decision_steps(11, 6) == [0, 1, 2, 4, 8]
    assert decision_steps(1, 100) == [0]


@pytest.mark.parametrize("steps_per_action", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("num_decisions", [1, 2, 5, 60])
def test_total_steps_make_room_for_exactly_so_many_decisions(
    num_decisions: int, steps_per_action: int
) -> None:
    total = total_steps_of(num_decisions, steps_per_action)
    assert len(decision_steps(total, steps_per_action)) == num_decisions


def test_a_stack_decides_when_single_trainings_do() -> None:
    for total in (1, 9, 30):
        steps = torch.arange(total)
        together = intervals(steps, 4, torch.full_like(steps, total)).tolist()
        assert together == [interval(step, 4, total) for step in range(total)]


def test_trainings_of_any_length_have_about_two_hundred_decisions() -> None:
    assert default_steps_per_action(50) == 1
    assert default_steps_per_action(200) == 1
    assert default_steps_per_action(100_000) == 500
    assert 200 <= len(decision_steps(100_000, 500)) <= 212


@pytest.mark.parametrize(("total", "every"), [(0, 1), (-3, 1), (1, 0)])
def test_nothing_below_one(total: int, every: int) -> None:
    with pytest.raises(InvalidArgumentError, match="at least 1"):
        check_horizon(total, every)


@pytest.mark.parametrize(("total", "every"), [(12.5, 1), ("10", 1), (10, 1.5), (None, 1)])
def test_only_whole_numbers(total, every) -> None:
    # A fractional interval would never again meet a step.
    with pytest.raises(InvalidArgumentError, match="whole number"):
        check_horizon(total, every)
