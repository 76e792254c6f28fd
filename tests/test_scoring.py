"""Scoring: paired trainings, and a toy whose right answer is known."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from lr_env.action import Envelope
from lr_env.observation import FEATURES
from lr_env.policy import FrozenPolicy, make_card
from lr_env.scoring import (
    Entry,
    compare,
    final_potentials,
    score,
    score_random,
    score_schedule,
    score_start,
)
from lr_env.stack import StackSettings
from tests.toys import ToyTask


def _entry(base_lr: float | tuple[float, float] = 1e-5) -> Entry:
    settings = StackSettings(base_lr=base_lr, total_steps=60, envelope=Envelope(z_init="zero"))
    return Entry("toy", ToyTask, settings, 6)


def _constant_policy(action: float, z_init: str = "zero", **changes: Any) -> FrozenPolicy:
    card = make_card(
        name="constant", action_space="box", activation="tanh",
        envelope=Envelope(z_init=z_init, **changes),  # type: ignore[arg-type]
    )  # fmt: skip
    weights = {"0.weight": torch.zeros(1, len(FEATURES)), "0.bias": torch.tensor([action])}
    return FrozenPolicy(weights, card)


def test_raising_a_rate_far_too_low_beats_leaving_it() -> None:
    entries = [_entry()]
    raising = _constant_policy(0.5)
    own = score(raising, entries, 1)
    rivals = {"schedule": score_schedule, "random": score_random}
    result = compare(
        ["toy"], {"policy": own} | {k: rival(raising, entries, 1) for k, rival in rivals.items()}
    )
    gap, half = result.over["schedule"]
    assert gap - half > 0.1
    assert result.policy == pytest.approx(result.rivals["schedule"] + gap)
    assert result.trainings == 6


def test_zero_actions_have_the_policy_s_start_and_the_schedule_has_none() -> None:
    entries, zero = [_entry((1e-4, 1e-2))], _constant_policy(0.0, "cautious")
    assert torch.equal(score(zero, entries, 2)[0], score_start(zero, entries, 2)[0])
    assert not torch.equal(score(zero, entries, 2)[0], score_schedule(zero, entries, 2)[0])


def test_a_residual_policy_s_start_is_its_start() -> None:
    """A residual zero is the base rate, wherever the policy starts."""
    entries = [_entry((1e-4, 1e-2))]
    incremental, residual = (
        _constant_policy(0.0, "cautious", mode=mode) for mode in ("incremental", "residual")
    )
    started = score_start(residual, entries, 2)[0]
    assert torch.equal(started, score_start(incremental, entries, 2)[0])
    assert not torch.equal(started, score(residual, entries, 2)[0])


def test_a_schedule_of_the_policy_s_own_comes_down_once() -> None:
    settings = replace(_entry().settings, base_lr=1e-3, schedules=("constant", "cosine"))
    mixed = replace(_entry(), settings=settings)
    constant = replace(mixed, settings=replace(settings, schedules=("constant",) * 2))
    own = _constant_policy(0.0, "calibrated", schedule="linear")
    assert torch.equal(score(own, [mixed], 2)[0], score(own, [constant], 2)[0])
    assert torch.equal(score_start(own, [mixed], 2)[0], score(own, [mixed], 2)[0])
    # What has none keeps the entry's; the rival that is the schedule, too.
    without = _constant_policy(0.0, "calibrated")
    for scorer in (score, score_schedule):
        kept = scorer(without, [mixed], 2)[0]
        assert not torch.equal(kept, scorer(without, [constant], 2)[0])
    assert torch.equal(score_schedule(own, [mixed], 2)[0], score_schedule(without, [mixed], 2)[0])


def test_the_schedule_is_the_zero_policy_and_the_same_seed_the_same_trainings() -> None:
    entries, zero = [_entry((1e-4, 1e-2))], _constant_policy(0.0)
    assert torch.equal(score(zero, entries, 2)[0], score_schedule(zero, entries, 2)[0])
    again = final_potentials(entries[0], lambda seen: seen.new_zeros(seen.shape[:-1]), 2)
    assert torch.equal(again, score(zero, entries, 2)[0])
    assert not torch.equal(again, score(zero, entries, 3)[0])


def test_random_actions_do_not_depend_on_what_else_is_scored() -> None:
    # Worker processes share a suite out: each scores some of its entries.
    policy, other = _constant_policy(0.0), replace(_entry(), name="other")
    together = score_random(policy, [_entry(), other], 1)
    assert torch.equal(together[1], score_random(policy, [other], 1)[0])
