"""What no stack could use is refused where it is written down."""

from typing import Any

import pytest

from lr_env.errors import LrEnvError
from lr_env.stack import StackSettings
from tests.test_env_arguments import assert_one_sentence

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"total_steps": 0}, "total_steps must be at least 1"),
    ({"total_steps": 2.5}, "whole number"),
    ({"total_steps": (0, 50)}, "total_steps must be at least 1"),
    ({"total_steps": (50, 20)}, "range"),
    ({"total_steps": (20, 30, 50)}, "range"),
    ({"total_steps": ()}, "range"),
    ({"steps_per_action": 0}, "steps_per_action"),
    ({"schedules": ()}, "at least one base schedule"),
    ({"schedules": ("cosin",)}, "did you mean 'cosine'"),
    ({"validation_samples": 0}, "validation_samples must be at least 1"),
    ({"gamma": 0.0}, "gamma"),
    ({"reward_kind": "progres"}, "did you mean 'progress'"),
    ({"base_lr": 0.0}, "base_lr"),
    ({"device": "cuda:99"}, "device"),
    ({"lane_rates": (1e-3, -1.0)}, "base_lr"),
]


@pytest.mark.parametrize(("arguments", "says"), MISTAKES)
def test_settings_that_no_stack_could_use(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(LrEnvError, match=says) as caught:
        StackSettings(**arguments)
    assert_one_sentence(caught.value)


def test_whole_numbers_and_ranges_of_them_are_horizons() -> None:
    for total_steps in (1, 500, (20, 50), (50, 50)):
        assert StackSettings(total_steps=total_steps).total_steps == total_steps
