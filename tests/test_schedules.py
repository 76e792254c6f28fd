"""Base schedules: their shapes, and what may stand for one."""

import pytest

from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.schedules import SCHEDULES, resolve_schedule


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("total", [1, 2, 10, 1000])
def test_factors_stay_between_zero_and_one_even_past_the_end(name: str, total: int) -> None:
    factors = [SCHEDULES[name](step, total) for step in range(total + 5)]
    assert all(0.0 <= factor <= 1.0 for factor in factors)
    assert factors[0] > 0.0


def test_known_points() -> None:
    def at(name: str, *steps: int) -> list[float]:
        return [SCHEDULES[name](step, 100) for step in steps]

    assert at("constant", 0, 50, 100) == [1.0, 1.0, 1.0]
    assert at("cosine", 0, 50, 100) == pytest.approx([1.0, 0.5, 0.0])
    assert at("linear", 0, 9, 10, 55, 100) == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])
    assert at("wsd", 0, 9, 50, 80, 90, 100) == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.5, 0.0])


def test_names_and_functions_are_resolved() -> None:
    assert resolve_schedule("cosine") is SCHEDULES["cosine"]

    def own(step: int, total_steps: int) -> float:
        return 0.5

    assert resolve_schedule(own) is own
    with pytest.raises(UnknownNameError, match="did you mean 'linear'"):
        resolve_schedule("linaer")
    with pytest.raises(InvalidArgumentError, match="base_schedule"):
        resolve_schedule(0.1)
