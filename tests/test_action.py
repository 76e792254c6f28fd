"""Actions: steps on a log scale inside the envelope."""

import math

import pytest
import torch

from lr_env.action import (
    CAUTIOUS_RELATIVE_RATE,
    DISCRETE_ACTIONS,
    PRETRAINED_CEILING,
    Envelope,
    decode_discrete,
)
from lr_env.errors import LrEnvError


def test_incremental_actions_add_octaves_and_stop_at_the_wall() -> None:
    envelope = Envelope(z_max=3.0, mode="incremental", max_step=2.0)
    z = torch.tensor([0.0, 2.5, -2.5, 1.0])
    moved = envelope.move(z, torch.tensor([0.5, 1.0, -1.0, 0.0]), torch.full((4,), 3.0))
    assert moved.tolist() == [1.0, 3.0, -3.0, 1.0]


def test_residual_actions_forget_where_they_were() -> None:
    envelope = Envelope(z_max=3.0, mode="residual")
    moved = envelope.move(
        torch.tensor([3.0, -1.0, 2.0]), torch.tensor([0.5, -1.0, 0.0]), torch.full((3,), 3.0)
    )
    assert moved.tolist() == [1.5, -3.0, 0.0]


@pytest.mark.parametrize("mode", ["incremental", "residual"])
def test_actions_beyond_one_count_as_one(mode: str) -> None:
    envelope = Envelope(mode=mode)
    z, top = torch.zeros(2, 3), torch.full((2, 3), 10.0)
    assert torch.equal(
        envelope.move(z, torch.full((2, 3), 7.0), top), envelope.move(z, torch.ones(2, 3), top)
    )


@pytest.mark.parametrize("mode", ["incremental", "residual"])
def test_layers_are_not_raised_above_their_ceiling(mode: str) -> None:
    envelope = Envelope(z_max=10.0, mode=mode, max_step=20.0, z_init="cautious")
    nominal = torch.tensor([4.0 * PRETRAINED_CEILING, 4.0 * PRETRAINED_CEILING, 8.0 / 3.0])
    top = envelope.top(nominal, torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(top, torch.tensor([-2.0, -2.0, -3.0]))
    start = envelope.start(nominal)
    assert (envelope.move(start, torch.ones(3), top) == top).all()
    assert (envelope.move(start, -torch.ones(3), top) == -10.0).all()


def test_a_rate_of_its_own_above_the_ceiling_stays_and_is_not_raised() -> None:
    envelope = Envelope(z_max=2.0, z_init="zero")
    nominal = torch.tensor([100.0 * PRETRAINED_CEILING, 0.5 * PRETRAINED_CEILING, 0.0])
    top = envelope.top(nominal, torch.ones(3))
    assert top.tolist() == [0.0, 1.0, 2.0]
    assert envelope.move(envelope.start(nominal), torch.zeros(3), top).tolist() == [0.0, 0.0, 0.0]
    assert envelope.move(envelope.start(nominal), torch.ones(3), top).tolist() == [0.0, 1.0, 2.0]


def test_without_a_ceiling_pretrained_layers_are_as_others() -> None:
    envelope = Envelope(z_max=4.0, ceiling=None)
    assert (envelope.top(torch.ones(2), torch.ones(2)) == 4.0).all()


def test_a_layer_has_the_share_of_its_network_in_the_ceiling() -> None:
    envelope = Envelope(z_init="cautious", ceiling=0.5)
    for layers in (1, 4, 64):
        top = envelope.top(torch.ones(2, layers), torch.zeros(layers))
        torch.testing.assert_close(top, torch.full((2, layers), -1.0 - math.log2(layers)))


def test_a_cautious_start_aims_at_one_relative_rate() -> None:
    envelope = Envelope(z_max=4.0, z_init="cautious")
    rates = torch.tensor([CAUTIOUS_RELATIVE_RATE, CAUTIOUS_RELATIVE_RATE * 8, 1.0, 1e-9, 0.0])
    torch.testing.assert_close(envelope.start(rates), torch.tensor([0.0, -3.0, -4.0, 4.0, 0.0]))
    assert Envelope(z_init="zero").start(rates).tolist() == [0.0] * 5


def test_five_discrete_actions_are_symmetric_around_no_change() -> None:
    assert decode_discrete(torch.arange(5)).tolist() == list(DISCRETE_ACTIONS)
    assert sum(DISCRETE_ACTIONS) == 0.0
    assert DISCRETE_ACTIONS[2] == 0.0
    assert decode_discrete(torch.zeros(2, 3)).shape == (2, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"z_max": 0.0}, {"z_max": 21.0}, {"z_max": float("nan")}, {"max_step": -1.0},
        {"mode": "jump"}, {"z_init": "warm"}, {"ceiling": 0.0}, {"ceiling": math.inf},
    ],
)  # fmt: skip
def test_impossible_envelopes_are_refused(arguments) -> None:
    with pytest.raises(LrEnvError):
        Envelope(**arguments)
