"""The reward: bounded, telescoping, and lowest for divergence."""

import math

import pytest
import torch

from lr_env.errors import LrEnvError
from lr_env.reward import DIVERGED, HIGHEST, LOWEST, check_reward, potential, reward


def phi(loss: float, initial: float = 2.0) -> float:
    return float(potential(torch.tensor(loss).double(), torch.tensor(initial).double()))


def test_the_potential_is_the_log_of_what_was_gained() -> None:
    assert phi(2.0) == 0.0
    assert phi(1.0) == pytest.approx(math.log(2.0))
    assert phi(4.0) == pytest.approx(-math.log(2.0))


def test_the_potential_is_clipped_and_divergence_lies_below() -> None:
    assert phi(0.0) == HIGHEST
    assert phi(1e30) == LOWEST
    assert [phi(float(bad)) for bad in ("nan", "inf")] == [DIVERGED, DIVERGED]
    assert DIVERGED < LOWEST


def test_leading_dimensions_are_free() -> None:
    losses = torch.tensor([[1.0, 2.0], [float("nan"), 4.0]])
    values = potential(losses, torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(
        values, torch.tensor([[math.log(2.0), 0.0], [DIVERGED, -math.log(2.0)]])
    )


@pytest.mark.parametrize("gamma", [0.9, 0.99, 1.0])
def test_the_discounted_return_is_the_discounted_final_potential(gamma: float) -> None:
    path = torch.tensor([0.0, 0.5, -1.0, 2.0, 1.5]).double()
    gains = reward(path[:-1], path[1:], gamma)
    discounts = gamma ** torch.arange(4).double()
    assert float((gains * discounts).sum()) == pytest.approx(gamma**4 * 1.5)
    assert float(reward(path[:-1], path[1:], gamma, "progress").sum()) == pytest.approx(1.5)


@pytest.mark.parametrize(("kind", "gamma"), [("potent", 0.9), ("progress", 0.0), ("progress", 1.1)])
def test_what_cannot_be_used_is_refused(kind: str, gamma: float) -> None:
    with pytest.raises(LrEnvError):
        check_reward(kind, gamma)
