"""Trials are paired, and controls do what they say."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from lr_env.action import Envelope
from lr_env.layers import group_layers
from lr_env.meta_test.controls import LayerByLayer, OneAction, RandomActions, Shuffled
from lr_env.meta_test.pilots import (
    averaged,
    follow,
    held_rates,
    hold,
    layer_kind,
    replay,
    summed_schedules,
)
from lr_env.meta_test.trial import Pilot, Trial, run_trial
from lr_env.stack import StackSettings
from tests.toys import ToyTask, make_policy

RATES, SEEDS, STEPS = (1e-3, 1e-2), (11, 5, 8), 20
POLICY = make_policy(envelope=Envelope(z_max=4.0, max_step=1.0, z_init="zero", ceiling=None))
WIDEST = Envelope(z_max=20.0, mode="residual", z_init="zero", ceiling=None)
SETTINGS = StackSettings(total_steps=STEPS, steps_per_action=4, envelope=POLICY.envelope)
LAYERS = group_layers(ToyTask().build_model())


def trial(pilot: Pilot, envelope: Envelope | None = None, **changes: object) -> Trial:
    settings = StackSettings(
        **{**vars(SETTINGS), "envelope": envelope or POLICY.envelope, **changes}  # type: ignore[arg-type]
    )
    return run_trial(ToyTask, settings, RATES, SEEDS, pilot)


def test_a_seed_is_the_same_training_at_every_rate_and_under_every_pilot() -> None:
    held, led = trial(hold, Envelope(z_init="zero")), trial(follow(POLICY))
    assert torch.equal(held.initial_loss, led.initial_loss)
    assert torch.equal(held.initial_loss[0], held.initial_loss[1])
    assert len(set(held.initial_loss[0].tolist())) == len(SEEDS)
    again = trial(hold, Envelope(z_init="zero"))
    assert torch.equal(held.loss, again.loss)


def test_a_trial_of_fewer_seeds_or_rates_is_a_part_of_the_whole() -> None:
    whole = trial(follow(POLICY))
    part = run_trial(ToyTask, SETTINGS, RATES[1:], SEEDS[:2], follow(POLICY))
    assert torch.allclose(part.loss, whole.loss[1:, :2], rtol=1e-4)


def test_shown_rates_are_the_base_and_their_mean_is_over_updates() -> None:
    held = trial(hold, Envelope(z_init="zero"))
    assert held.steps.tolist() == [0, 1, 2, 4, 8, 12, 16]
    base = torch.tensor(RATES).log2().view(2, 1, 1).expand(2, 3, len(LAYERS))
    assert torch.allclose(held.mean_rates(STEPS), base, atol=1e-4)
    rates = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    made = Trial(*(torch.zeros(1, 1),) * 4, rates=rates, steps=torch.tensor([0, 5]), layers=())
    assert made.mean_rates(20).item() == pytest.approx(0.25 * 1.0 + 0.75 * 3.0)


def test_rates_held_at_the_base_are_the_fixed_schedule() -> None:
    base = torch.tensor(RATES).log2().repeat_interleave(len(SEEDS)).unsqueeze(1)
    own = trial(held_rates(base.expand(-1, len(LAYERS))), WIDEST)
    assert torch.allclose(own.loss, trial(hold, Envelope(z_init="zero")).loss, rtol=1e-3)


def test_the_mean_action_moves_all_layers_alike_and_is_the_policys_own() -> None:
    own, alike = trial(follow(POLICY)), trial(follow(OneAction(POLICY)))
    moves = alike.rates - alike.start
    inside = (moves[0] - moves[0].mean(-1, keepdim=True)).abs().max()
    assert inside < 1e-4
    assert torch.allclose(moves[0].mean(-1), (own.rates - own.start)[0].mean(-1), atol=1e-4)


def test_controls_of_a_policy_that_shares_act_layer_by_layer() -> None:
    shared = make_policy(envelope=replace(POLICY.envelope, shared=True))
    control = LayerByLayer(shared)
    assert control.envelope == POLICY.envelope
    own = trial(follow(shared), shared.envelope)
    assert torch.equal(trial(follow(control), control.envelope).loss, trial(follow(POLICY)).loss)
    assert torch.allclose(own.loss, trial(follow(OneAction(POLICY))).loss, rtol=1e-5)
    assert not torch.allclose(own.loss, trial(follow(POLICY)).loss, rtol=1e-5)


def test_shuffled_rows_go_to_other_layers_and_one_layer_stays_the_agents() -> None:
    own, other = trial(follow(POLICY)), trial(follow(Shuffled(POLICY, 0)))
    first, turned = (own.rates - own.start)[0], (other.rates - other.start)[0]
    assert torch.allclose(turned, first.flip(-1), atol=1e-4)  # two layers: each has the other's
    single = partial(_OneLayer, seed=3)
    runs = [
        run_trial(lambda seed: single(), SETTINGS, RATES, SEEDS, pilot)
        for pilot in (follow(POLICY), follow(Shuffled(POLICY, 0)))
    ]
    assert torch.equal(runs[0].loss, runs[1].loss)


def test_random_actions_are_those_of_their_seed() -> None:
    first, again, other = (trial(follow(RandomActions(POLICY, seed))).rates for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_replayed_flat_schedule_is_the_start_held() -> None:
    cautious = Envelope(z_max=20.0, mode="residual", z_init="cautious")
    flat = trial(replay({"any": [0.0] * 51}), cautious)
    held = trial(hold, Envelope(z_max=20.0, z_init="cautious"))
    assert torch.allclose(flat.loss, held.loss, rtol=1e-3)


def test_an_averaged_schedule_is_replayed_as_it_was() -> None:
    """Averaged over trainings that all rise by the same, the average is what each did."""
    rising = trial(lambda stack: torch.full((stack.num, 2), 0.5))
    sums = [summed_schedules(rising, LAYERS, STEPS)] * 2
    schedule = averaged(sums)
    assert set(schedule) == {"any", "matrix"}
    assert sums[0]["any"]["count"] == len(RATES) * len(SEEDS) * len(LAYERS)
    cautious = Envelope(z_max=20.0, mode="residual", z_init="cautious")
    again = trial(replay(schedule), cautious)
    assert torch.allclose(
        again.rates - again.start, rising.rates - rising.start, atol=0.2
    )  # read between the grid's points


def test_kinds_of_layers_have_schedules_of_their_own() -> None:
    pretrained = group_layers(ToyTask().build_model(), lambda name: name.startswith("0."))
    assert [layer_kind(layer) for layer in pretrained] == ["matrix pretrained", "matrix"]
    cautious = Envelope(z_max=20.0, mode="residual", z_init="cautious")
    raised = trial(replay({"any": [0.0] * 51, "matrix": [1.0] * 51}), cautious)
    assert torch.allclose(raised.rates - raised.start, torch.ones(()), atol=1e-4)


def test_diverged_trainings_are_nan_and_counted() -> None:
    gone = trial(hold, Envelope(z_init="zero"), optimizer="sgd")
    assert not gone.diverged.any()
    settings = StackSettings(
        optimizer="sgd", total_steps=STEPS, steps_per_action=4, envelope=Envelope(z_init="zero")
    )
    gone = run_trial(ToyTask, settings, (1e-3, 1e30), SEEDS, hold)
    assert gone.diverged.tolist() == [[False] * 3, [True] * 3]
    assert gone.loss[1].isnan().all()
    assert torch.isfinite(gone.loss[0]).all()


class _OneLayer(ToyTask):
    def build_model(self) -> torch.nn.Module:
        return torch.nn.Linear(6, 3)
