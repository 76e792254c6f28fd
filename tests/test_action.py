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

BUDGET = torch.tensor(100)


def walls(layers: int, z_max: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((layers,), -z_max), torch.full((layers,), z_max)


def test_incremental_actions_add_octaves_and_stop_at_the_wall() -> None:
    envelope = Envelope(z_max=3.0, mode="incremental", max_step=2.0)
    z = torch.tensor([0.0, 2.5, -2.5, 1.0])
    moved = envelope.move(z, torch.tensor([0.5, 1.0, -1.0, 0.0]), *walls(4, 3.0))
    assert moved.tolist() == [1.0, 3.0, -3.0, 1.0]


def test_residual_actions_forget_where_they_were() -> None:
    envelope = Envelope(z_max=3.0, mode="residual")
    moved = envelope.move(
        torch.tensor([3.0, -1.0, 2.0]), torch.tensor([0.5, -1.0, 0.0]), *walls(3, 3.0)
    )
    assert moved.tolist() == [1.5, -3.0, 0.0]


@pytest.mark.parametrize("mode", ["incremental", "residual"])
def test_actions_beyond_one_count_as_one(mode: str) -> None:
    envelope = Envelope(mode=mode)
    z, own = torch.zeros(2, 3), walls(3, 10.0)
    assert torch.equal(
        envelope.move(z, torch.full((2, 3), 7.0), *own), envelope.move(z, torch.ones(2, 3), *own)
    )


@pytest.mark.parametrize("mode", ["incremental", "residual"])
def test_layers_are_not_raised_above_their_ceiling(mode: str) -> None:
    envelope = Envelope(z_max=10.0, mode=mode, max_step=20.0, z_init="cautious")
    nominal = torch.tensor([4.0 * PRETRAINED_CEILING, 4.0 * PRETRAINED_CEILING, 8.0 / 3.0])
    start, lowest, top = envelope.begin(nominal, torch.tensor([1.0, 1.0, 0.0]), BUDGET)
    torch.testing.assert_close(top, torch.tensor([-2.0, -2.0, -3.0]))
    assert (envelope.move(start, torch.ones(3), lowest, top) == top).all()
    assert (envelope.move(start, -torch.ones(3), lowest, top) == -10.0).all()


def test_a_rate_of_its_own_above_the_ceiling_stays_and_is_not_raised() -> None:
    envelope = Envelope(z_max=2.0, z_init="zero")
    nominal = torch.tensor([100.0 * PRETRAINED_CEILING, 0.5 * PRETRAINED_CEILING, 0.0])
    start, lowest, top = envelope.begin(nominal, torch.ones(3), BUDGET)
    assert top.tolist() == [0.0, 1.0, 2.0]
    assert envelope.move(start, torch.zeros(3), lowest, top).tolist() == [0.0, 0.0, 0.0]
    assert envelope.move(start, torch.ones(3), lowest, top).tolist() == [0.0, 1.0, 2.0]


def test_without_a_ceiling_pretrained_layers_are_as_others() -> None:
    envelope = Envelope(z_max=4.0, ceiling=None)
    _, _, top = envelope.begin(torch.ones(2), torch.ones(2), BUDGET)
    assert (top == 4.0).all()


def test_a_layer_has_the_share_of_its_network_in_the_ceiling() -> None:
    envelope = Envelope(z_init="cautious", ceiling=0.5)
    for layers in (1, 4, 64):
        _, _, top = envelope.begin(torch.ones(2, layers), torch.zeros(layers), BUDGET.expand(2))
        torch.testing.assert_close(top, torch.full((2, layers), -1.0 - math.log2(layers)))


def test_a_cautious_start_aims_at_one_relative_rate() -> None:
    envelope = Envelope(z_max=4.0, z_init="cautious")
    rates = torch.tensor([CAUTIOUS_RELATIVE_RATE, CAUTIOUS_RELATIVE_RATE * 8, 1.0, 1e-9, 0.0])
    start, _, _ = envelope.begin(rates, torch.zeros(5), BUDGET)
    torch.testing.assert_close(start, torch.tensor([0.0, -3.0, -4.0, 4.0, 0.0]))
    assert Envelope(z_init="zero").begin(rates, torch.ones(5), BUDGET)[0].tolist() == [0.0] * 5


def test_a_calibrated_start_travels_as_far_whatever_the_budget() -> None:
    envelope = Envelope(z_max=20.0, z_init="calibrated", ceiling=None)
    budgets = torch.tensor([100, 400, 100_000])
    start, _, _ = envelope.begin(torch.ones(3, 2), torch.tensor([0.0, 1.0]), budgets)
    expected = torch.tensor([[0.2, 3e-3], [0.05, 3e-3], [1e-2, 3e-3]]).log2()
    torch.testing.assert_close(start, expected)


def test_a_calibrated_start_is_not_above_the_ceiling() -> None:
    envelope = Envelope(z_max=20.0, z_init="calibrated", ceiling=0.5)
    start, _, top = envelope.begin(torch.ones(10), torch.zeros(10), torch.tensor(100))
    assert (start == top).all()
    torch.testing.assert_close(start, torch.full((10,), 0.05).log2())


@pytest.mark.parametrize("mode", ["incremental", "residual"])
def test_actions_stay_within_reach_of_the_start(mode: str) -> None:
    envelope = Envelope(
        z_max=8.0, mode=mode, max_step=20.0, z_init="calibrated", ceiling=None, reach=2.0
    )
    start, lowest, highest = envelope.begin(
        torch.tensor([0.2, 0.2 * 2**7, 0.0]), torch.zeros(3), BUDGET
    )
    assert start.tolist() == pytest.approx([0.0, -7.0, 0.0], abs=1e-5)
    moved = envelope.move(start, torch.ones(3), lowest, highest)
    assert moved.tolist() == pytest.approx([2.0, -5.0, 2.0])
    moved = envelope.move(start, -torch.ones(3), lowest, highest)
    assert moved.tolist() == pytest.approx([-2.0, -8.0, -2.0])


def test_schedule_and_reach_belong_to_the_start() -> None:
    own = Envelope(z_init="calibrated", schedule="linear", reach=2.0)
    assert own.around(None, None) == own
    assert own.around(2.0, "zero") == Envelope(2.0, z_init="zero")
    assert own.factor(100, 100) == 0.0
    assert own.around(2.0, "zero").factor(100, 100) == 1.0


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
        {"reach": 0.0}, {"reach": math.inf}, {"schedule": "sine"},
    ],
)  # fmt: skip
def test_impossible_envelopes_are_refused(arguments) -> None:
    with pytest.raises(LrEnvError):
        Envelope(**arguments)
