"""Actions: steps on a log scale inside the envelope."""

import math

import pytest
import torch

from lr_env.action import (
    CAUTIOUS_RELATIVE_RATE,
    DISCRETE_ACTIONS,
    PRETRAINED_MOST,
    PRETRAINED_SUM,
    Envelope,
    Scope,
    decode_discrete,
)
from lr_env.errors import LrEnvError

BUDGET = torch.tensor(100)
SAMPLES = torch.tensor(3200.0)


def begin(
    envelope: Envelope,
    rates: torch.Tensor,
    pretrained: torch.Tensor,
    budget: torch.Tensor,
    samples: torch.Tensor,
    batch_normalised: torch.Tensor | None = None,
) -> Scope:
    if batch_normalised is None:
        batch_normalised = torch.zeros_like(pretrained)
    return envelope.begin(rates, pretrained, batch_normalised, budget, samples)


def walls(layers: int, z_max: float) -> Scope:
    return Scope.unknown(torch.zeros(layers), z_max)


def test_incremental_actions_add_octaves_and_stop_at_the_wall() -> None:
    envelope = Envelope(z_max=3.0, mode="incremental", max_step=2.0)
    z = torch.tensor([0.0, 2.5, -2.5, 1.0])
    moved = envelope.move(z, torch.tensor([0.5, 1.0, -1.0, 0.0]), walls(4, 3.0))
    assert moved.tolist() == [1.0, 3.0, -3.0, 1.0]


def test_residual_actions_forget_where_they_were() -> None:
    envelope = Envelope(z_max=3.0, mode="residual")
    moved = envelope.move(
        torch.tensor([3.0, -1.0, 2.0]), torch.tensor([0.5, -1.0, 0.0]), walls(3, 3.0)
    )
    assert moved.tolist() == [1.5, -3.0, 0.0]


@pytest.mark.parametrize("mode", ["incremental", "residual"])
def test_actions_beyond_one_count_as_one(mode: str) -> None:
    envelope = Envelope(mode=mode)
    z, own = torch.zeros(2, 3), walls(3, 10.0)
    assert torch.equal(
        envelope.move(z, torch.full((2, 3), 7.0), own), envelope.move(z, torch.ones(2, 3), own)
    )


@pytest.mark.parametrize("mode", ["incremental", "residual"])
def test_layers_are_not_raised_above_their_ceiling(mode: str) -> None:
    envelope = Envelope(z_max=10.0, mode=mode, max_step=20.0, z_init="cautious")
    nominal = torch.tensor([4.0 * PRETRAINED_MOST, 4.0 * PRETRAINED_MOST, 8.0 / 3.0])
    scope = begin(envelope, nominal, torch.tensor([1.0, 1.0, 0.0]), BUDGET, SAMPLES)
    torch.testing.assert_close(scope.highest, torch.tensor([-2.0, -2.0, -3.0]))
    assert (envelope.move(scope.start, torch.ones(3), scope) == scope.highest).all()
    assert (envelope.move(scope.start, -torch.ones(3), scope) == -10.0).all()


def test_a_rate_of_its_own_above_the_ceiling_stays_and_is_not_raised() -> None:
    envelope = Envelope(z_max=2.0, z_init="zero")
    nominal = torch.tensor([100.0 * PRETRAINED_MOST, 0.5 * PRETRAINED_MOST])
    scope = begin(envelope, nominal, torch.ones(2), BUDGET, SAMPLES)
    assert scope.highest.tolist() == [0.0, 1.0]
    assert envelope.move(scope.start, torch.zeros(2), scope).tolist() == [0.0, 0.0]
    assert envelope.move(scope.start, torch.ones(2), scope).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("mode", ["incremental", "residual"])
@pytest.mark.parametrize(("z_init", "held"), [("zero", 0.0), ("calibrated", -7.0)])
def test_a_layer_that_nothing_is_known_of_is_held_at_the_lowest_start(
    mode: str, z_init: str, held: float
) -> None:
    envelope = Envelope(z_max=9.0, mode=mode, z_init=z_init, ceiling=None)
    rates = torch.tensor([[1.0, 2.0**7, 0.0], [0.0, 0.0, 0.0]]) / 3.0
    scope = begin(envelope, rates, torch.zeros(3), BUDGET.expand(2), SAMPLES)
    for action in (-torch.ones(2, 3), torch.ones(2, 3)):
        moved = envelope.move(scope.start, action, scope)
        assert moved[0, 2] == pytest.approx(held, abs=1e-5)
        assert (moved[1] == 0.0).all()
        assert (moved[0, :2] != scope.start[0, :2]).all()


def test_the_deeper_a_pretrained_network_the_less_of_a_layer_may_change() -> None:
    layers = 100
    envelope = Envelope(z_max=20.0, z_init="calibrated", ceiling=2.0)
    scope = begin(envelope, torch.ones(layers), torch.ones(layers), BUDGET, SAMPLES)
    torch.testing.assert_close(scope.start.exp2(), torch.full((layers,), PRETRAINED_SUM / layers))
    torch.testing.assert_close(scope.highest, scope.start + 1.0)


@pytest.mark.parametrize("start", ["cautious", "calibrated"])
def test_no_start_is_above_the_ceiling_of_a_very_deep_pretrained_network(start: str) -> None:
    layers = 200
    scope = begin(
        Envelope(z_max=20.0, z_init=start), torch.ones(layers), torch.ones(layers), BUDGET, SAMPLES
    )
    torch.testing.assert_close(scope.start.exp2(), torch.full((layers,), PRETRAINED_SUM / layers))


def test_without_a_ceiling_pretrained_layers_are_as_others() -> None:
    envelope = Envelope(z_max=4.0, ceiling=None)
    scope = begin(envelope, torch.ones(2), torch.ones(2), BUDGET, SAMPLES)
    assert (scope.highest == 4.0).all()


def test_a_layer_has_the_share_of_its_network_in_the_ceiling() -> None:
    envelope = Envelope(z_init="cautious", ceiling=0.5)
    for layers in (1, 4, 64):
        scope = begin(
            envelope, torch.ones(2, layers), torch.zeros(layers), BUDGET.expand(2), SAMPLES
        )
        torch.testing.assert_close(scope.highest, torch.full((2, layers), -1.0 - math.log2(layers)))


def test_a_cautious_start_aims_at_one_relative_rate() -> None:
    envelope = Envelope(z_max=4.0, z_init="cautious")
    rates = torch.tensor([CAUTIOUS_RELATIVE_RATE, CAUTIOUS_RELATIVE_RATE * 8, 1.0, 1e-9])
    scope = begin(envelope, rates, torch.zeros(4), BUDGET, SAMPLES)
    torch.testing.assert_close(scope.start, torch.tensor([0.0, -3.0, -4.0, 4.0]))
    assert (
        begin(Envelope(z_init="zero"), rates, torch.ones(4), BUDGET, SAMPLES).start.tolist()
        == [0.0] * 4
    )


def test_a_calibrated_start_travels_as_far_whatever_the_budget() -> None:
    envelope = Envelope(z_max=20.0, z_init="calibrated", ceiling=None)
    budgets = torch.tensor([100, 400, 100_000])
    scope = begin(envelope, torch.ones(3, 2), torch.tensor([0.0, 1.0]), budgets, SAMPLES)
    expected = torch.tensor([[0.4, 3e-3], [0.1, 3e-3], [1e-2, 3e-3]]).log2()
    torch.testing.assert_close(scope.start, expected)


def test_a_calibrated_start_leaves_every_layer_its_share_of_the_network_at_most() -> None:
    envelope = Envelope(z_max=20.0, z_init="calibrated", ceiling=None)
    budgets = torch.tensor([100, 2_000])
    for layers, expected in ((2, [0.4, 0.02]), (25, [0.04, 0.02]), (200, [0.005, 0.005])):
        scope = begin(envelope, torch.ones(2, layers), torch.zeros(layers), budgets, SAMPLES)
        rates = torch.tensor(expected).unsqueeze(1).expand(2, layers)
        torch.testing.assert_close(scope.start.exp2(), rates)
        assert (scope.highest == 20.0).all()  # an action may go on


def test_a_matched_start_grows_with_the_samples_for_an_update() -> None:
    envelope = Envelope(z_max=20.0, z_init="matched", ceiling=None)
    budgets, samples = torch.tensor([100, 400, 400]), torch.tensor([100.0, 400.0, 50.0])
    scope = begin(envelope, torch.ones(3, 2), torch.tensor([0.0, 1.0]), budgets, samples)
    expected = torch.tensor([[0.03, 3e-3], [0.03, 3e-3], [0.00375, 3e-3]]).log2()
    torch.testing.assert_close(scope.start, expected)


def test_a_matched_start_guesses_how_much_data_there_is() -> None:
    envelope = Envelope(z_max=20.0, z_init="matched", ceiling=None)
    samples = torch.tensor([torch.nan, 42.0 * 200**0.6])
    scope = begin(envelope, torch.ones(2, 3), torch.zeros(3), torch.tensor([200, 200]), samples)
    assert scope.start[0, 0].isfinite()
    torch.testing.assert_close(scope.start[0], scope.start[1])


def test_a_matched_start_leaves_every_layer_its_share_and_less_of_it_in_long_trainings() -> None:
    envelope = Envelope(z_max=20.0, z_init="matched", ceiling=None)
    budgets = torch.tensor([100, 900, 90_000])
    plenty = torch.full((3,), 1e9)
    for layers, expected in (
        (2, [0.5, 0.25, 0.02]), (20, [0.05, 0.025, 0.02]), (200, [0.005, 0.005, 0.005]),
    ):  # fmt: skip
        scope = begin(envelope, torch.ones(3, layers), torch.zeros(layers), budgets, plenty)
        rates = torch.tensor(expected).unsqueeze(1).expand(3, layers)
        torch.testing.assert_close(scope.start.exp2(), rates)


def test_a_matched_start_lets_batch_normalised_networks_change_more() -> None:
    budgets, plenty = torch.tensor([100, 3_000]), torch.full((2,), 1e9)
    for start, ceiling, layers, starts, most in (
        ("matched", None, 40, [0.08, 0.08], math.inf),
        ("matched", 2.0, 40, [0.08, 0.08], 0.16),
        ("matched", 2.0, 4, [0.25, 0.08], 0.5),
        ("calibrated", 2.0, 40, [0.025, 40.0 / 3_000], 0.05),
    ):
        envelope = Envelope(z_max=20.0, z_init=start, ceiling=ceiling)
        free = torch.ones(layers)
        scope = begin(envelope, torch.ones(2, layers), 0 * free, budgets, plenty, free)
        rates = torch.tensor(starts).unsqueeze(1).expand(2, layers)
        torch.testing.assert_close(scope.start.exp2(), rates)
        reached = torch.full((2, layers), min(most, 2.0**20))
        torch.testing.assert_close(scope.highest.exp2(), reached)


def test_a_pretrained_network_changes_no_more_for_its_batch_normalisation() -> None:
    envelope = Envelope(z_max=20.0, z_init="matched", ceiling=2.0)
    pretrained, plenty = torch.tensor([1.0] * 19 + [0.0]), torch.tensor(1e9)
    plain, other = (
        begin(envelope, torch.ones(20), pretrained, BUDGET, plenty, torch.full((20,), free))
        for free in (0.0, 1.0)
    )
    assert torch.equal(plain.start, other.start)
    assert torch.equal(plain.highest, other.highest)


def test_a_calibrated_start_is_not_above_the_ceiling() -> None:
    envelope = Envelope(z_max=20.0, z_init="calibrated", ceiling=0.5)
    scope = begin(envelope, torch.ones(10), torch.zeros(10), BUDGET, SAMPLES)
    assert (scope.start == scope.highest).all()
    torch.testing.assert_close(scope.start, torch.full((10,), 0.05).log2())


@pytest.mark.parametrize("mode", ["incremental", "residual"])
def test_actions_stay_within_reach_of_the_start(mode: str) -> None:
    envelope = Envelope(
        z_max=8.0, mode=mode, max_step=20.0, z_init="calibrated", ceiling=None, reach=2.0
    )
    scope = begin(envelope, torch.tensor([0.4, 0.4 * 2**7]), torch.zeros(2), BUDGET, SAMPLES)
    assert scope.start.tolist() == pytest.approx([0.0, -7.0], abs=1e-5)
    moved = envelope.move(scope.start, torch.ones(2), scope)
    assert moved.tolist() == pytest.approx([2.0, -5.0])
    moved = envelope.move(scope.start, -torch.ones(2), scope)
    assert moved.tolist() == pytest.approx([-2.0, -8.0])


@pytest.mark.parametrize("mode", ["incremental", "residual"])
def test_pretrained_layers_have_a_reach_of_their_own(mode: str) -> None:
    pretrained = torch.tensor([1.0, 0.0])
    for own, moved in ((0.0, 0.0), (0.5, 0.5), (None, 2.0)):
        envelope = Envelope(
            z_max=8.0, mode=mode, max_step=20.0, z_init="calibrated", ceiling=None, reach=2.0,
            pretrained_reach=own,
        )  # fmt: skip
        scope = begin(envelope, torch.tensor([3e-3, 0.4]), pretrained, BUDGET, SAMPLES)
        for sign in (-1.0, 1.0):
            z = envelope.move(scope.start, torch.full((2,), sign), scope)
            assert (z - scope.start).tolist() == pytest.approx([sign * moved, sign * 2.0], abs=1e-6)


def test_pretrained_layers_are_held_around_a_recipe_too() -> None:
    narrow = Envelope(z_init="calibrated", reach=3.0, pretrained_reach=0.0).around(2.0, "zero")
    scope = begin(narrow, torch.full((2,), 1e-3), torch.tensor([1.0, 0.0]), BUDGET, SAMPLES)
    assert scope.lowest.tolist() == [0.0, -2.0]
    assert scope.highest.tolist() == [0.0, 2.0]


def test_a_leak_takes_actions_back_and_keeps_a_bias_from_adding_up() -> None:
    envelope = Envelope(max_step=1.0, leak=0.1)
    scope = Scope(torch.tensor([2.0, 0.0]), *(torch.full((2,), own) for own in (-10.0, 10.0)))
    assert envelope.move(scope.start, torch.zeros(2), scope).tolist() == [2.0, 0.0]
    z = envelope.move(torch.tensor([4.0, -1.0]), torch.tensor([0.0, 0.5]), scope)
    assert z.tolist() == pytest.approx([3.8, -0.4])
    for _ in range(200):
        z = envelope.move(z, torch.full((2,), -0.03), scope)
    assert z.tolist() == pytest.approx([1.7, -0.3])


def test_a_shared_action_is_the_mean_of_the_layers_that_may_move() -> None:
    envelope = Envelope(max_step=1.0, shared=True)
    scope = Scope(*(torch.tensor(own) for own in ([0.0] * 3, [-5.0, 0.0, -5.0], [5.0, 0.0, 5.0])))
    action = torch.tensor([[1.0, -1.0, 0.5], [-3.0, 1.0, -1.0]])
    z = envelope.move(torch.tensor([1.0, 0.0, 2.0]).expand(2, 3), action, scope)
    assert z.tolist() == [[1.75, 0.0, 2.75], [0.0, 0.0, 1.0]]
    held = Scope(*(torch.zeros(2) for _ in range(3)))
    assert envelope.move(torch.zeros(2), torch.ones(2), held).tolist() == [0.0, 0.0]


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
        {"reach": 0.0}, {"reach": math.inf}, {"schedule": "sine"}, {"leak": -0.1}, {"leak": 1.0},
        {"pretrained_reach": -0.1}, {"pretrained_reach": math.inf}, {"shared": "no"},
    ],
)  # fmt: skip
def test_impossible_envelopes_are_refused(arguments) -> None:
    with pytest.raises(LrEnvError):
        Envelope(**arguments)
