"""The mix of stacks that an agent is meta-trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from agents.config import TrainConfig
from agents.regimes import (
    BY_HEART,
    FEW_PASSES,
    PLENTY,
    SEPARABLE,
    STEPS_PER_ACTION,
    Regime,
    draw_steps_per_action,
    with_data,
)
from lr_env.action import Envelope
from lr_env.layers import group_layers
from lr_env.randomness import IsolatedTorchRandomness, derive_seed, numpy_generator
from lr_env.reward import RewardKind
from lr_env.scoring import Entry
from lr_env.stack import StackSettings
from lr_env.tasks.family import FamilySpec, FamilyTask, build_network, family_spec

# Without it a bias of 0.03 an action, which is nothing to PPO, is two octaves on a long training.
LEAK = 0.1
_OWN_SCHEDULE = Envelope(
    z_max=14.0, z_init="matched", schedule="linear", reach=6.0, max_step=1.0, leak=LEAK
)
WIDE = {
    "matched": _OWN_SCHEDULE,
    "calibrated": replace(_OWN_SCHEDULE, z_init="calibrated"),
    "cautious": Envelope(z_max=14.0, z_init="cautious", max_step=1.0),
}
NARROW = Envelope(z_max=2.0, z_init="zero", max_step=1.0)
NARROW_TURNS = (1, 7)
SCHEDULES = ("constant", "constant", "cosine", "linear", "wsd")
DECISIONS = (15, 60)
BY_HEART_TURNS = (3, 6)
REHEARSAL_TURNS = (0, 5, 8)
PLENTY_SHARE = 0.5
"""Of the stacks that rehearse: those with plenty of data, and longer trainings for it."""
# Convolutions take most of the time, and more of them at once would teach little more.
IMAGE_SLOTS = 1 / 3
# Always the same samples, so that noise cancels in progress; evaluation is a third of the cost.
VALIDATION_SAMPLES = 64
DECISION_COST = 12.0
"""Milliseconds of a decision besides its updates, roughly: observations, validation, actions."""


@dataclass(frozen=True)
class StackPlan:
    """One stack of the mix: an entry to train on, the seed of its first lane, and its twins.

    Every `twins` lanes have one seed: they are the same training until the agent acts.
    """

    entry: Entry
    seed: int
    spec: FamilySpec
    twins: int = 1

    @property
    def seeds(self) -> list[int]:
        """The seed of every lane."""
        return [self.seed + lane // self.twins for lane in range(self.entry.lanes)]

    @property
    def fine_tunes(self) -> bool:
        """Whether it begins with networks that have to be pretrained first: seconds of work."""
        return _fine_tunes(self.spec)

    @property
    def cost(self) -> float:
        """A rough guess of a decision's time in milliseconds, to spread stacks over cores."""
        steps = self.entry.settings.steps_per_action
        return DECISION_COST + steps * self.spec.step_cost(self.entry.lanes)

    def describe(self) -> dict[str, Any]:
        """Return what a run's record says of it."""
        settings = self.entry.settings
        return {
            "name": self.entry.name,
            "spec": self.spec.to_dict(),
            "base_lr": settings.base_lr,
            "total_steps": settings.total_steps,
            "steps_per_action": settings.steps_per_action,
            "z_max": settings.envelope.z_max,
        }


def plan_stacks(config: TrainConfig) -> list[StackPlan]:
    """Draw the mix from the run's seed.

    In most stacks nobody knows the rate; two in ten work in a narrow envelope around rates
    such as recipes have.
    """
    return [plan_stack(config, index) for index in range(config.stacks)]


def plan_stack(config: TrainConfig, index: int, generation: int = 0) -> StackPlan:
    """Draw stack `index` of the mix, or the `generation`-th that takes its place.

    Those that follow are of its kind of architecture; all else is drawn anew.
    """
    spec = family_spec(
        derive_seed(config.seed, "family") % 2**31, _turns(config)[index], generation
    )
    names = (index, generation) if generation else (index,)
    random = numpy_generator(config.seed, "curriculum", *names)
    seed = derive_seed(config.seed, "stack", *names) % 2**31
    turn = (index + 3 * generation) % 10
    interval = draw_steps_per_action(STEPS_PER_ACTION, spec.inputs, random)
    regime = _regime(config, spec, turn, random)
    if regime.steps_per_action is not None:
        interval = draw_steps_per_action(regime.steps_per_action, spec.inputs, random)
    if not _fine_tunes(spec):  # Pretrained networks keep their little data.
        spec = with_data(spec, regime, interval * math.sqrt(DECISIONS[0] * DECISIONS[1]), random)
    name = f"{'.'.join(map(str, names))}-{spec.architecture}-{spec.optimizer}"
    seen = config.by_heart_seen if regime is BY_HEART else config.validation_seen
    entry = _entry(config, spec, name, turn in NARROW_TURNS, interval, seen)
    return StackPlan(entry, seed, spec, config.twins)


def envelope(config: TrainConfig, narrow: bool = False) -> Envelope:
    """Return the envelope that the agent learns in, or the narrow one around recipes."""
    wide = WIDE[config.start]
    wanted = replace(NARROW, leak=wide.leak) if narrow else wide
    return replace(
        wanted,
        mode=config.action_mode,  # type: ignore[arg-type]
        ceiling=None,
        pretrained_reach=config.pretrained_reach,
    )


def exported_envelope(config: TrainConfig) -> Envelope:
    """Return the envelope of the policy that is exported: with a ceiling and a shared action."""
    ceiling, shared = config.ceiling or None, config.resolved_shared_action
    return replace(envelope(config), ceiling=ceiling, shared=shared)


def _turns(config: TrainConfig) -> list[int]:
    """Return which of the family's turns the stacks take, fine-tuning left out where told."""
    turns = range(2 * config.stacks)
    kept = [turn for turn in turns if config.fine_tuning or not _fine_tunes(family_spec(0, turn))]
    return kept[: config.stacks]


def _fine_tunes(spec: FamilySpec) -> bool:
    return spec.architecture == "finetune"


def _entry(
    config: TrainConfig, spec: FamilySpec, name: str, narrow: bool, interval: int, seen: float
) -> Entry:
    own = envelope(config, narrow)
    # A base schedule below the envelope's own would bring the rates down twice.
    mixed = config.schedules == "mixed" and own.schedule == "constant"
    settings = StackSettings(
        optimizer=spec.optimizer,
        base_lr=_recipe_rates(spec) if narrow else (1e-5, 1e-1),
        schedules=SCHEDULES if mixed else ("constant",),
        total_steps=(DECISIONS[0] * interval, DECISIONS[1] * interval),
        steps_per_action=interval,
        batch_size=spec.batch_size,
        envelope=own,
        reward_kind=_reward_kind(config.reward),
        gamma=config.resolved_gamma,
        validation_samples=VALIDATION_SAMPLES,
        validation_seen=seen,
        epochs_seen=0.9,
    )
    slots = config.slots * (IMAGE_SLOTS if spec.inputs == "image" else 1.0)
    return Entry(name, partial(FamilyTask, spec), settings, _lanes(spec, slots, config.twins))


def _regime(
    config: TrainConfig, spec: FamilySpec, turn: int, random: np.random.Generator
) -> Regime:
    """Return the data regime of a turn of ten."""
    if config.by_heart and turn in BY_HEART_TURNS and not _fine_tunes(spec):
        return BY_HEART
    if config.rehearsal and turn in REHEARSAL_TURNS:
        return PLENTY if random.random() < PLENTY_SHARE else SEPARABLE
    return FEW_PASSES


def _lanes(spec: FamilySpec, slots: float, twins: int) -> int:
    """Return how many trainings make about `slots` layers: a multiple of `twins`.

    With as many lanes in each stack, deep networks would drown the shallow in the agent's data.
    """
    with IsolatedTorchRandomness(0, "layers").use():
        layers = len(group_layers(build_network(spec)))
    # One training alone would be all that a stack's advantages are centred on.
    return twins * max(1 if twins > 1 else 2, round(slots / layers / twins))


def _recipe_rates(spec: FamilySpec) -> tuple[float, float]:
    factor = 10.0 if spec.optimizer == "sgd" else 1.0
    low, high = (2e-5, 5e-4) if _fine_tunes(spec) else (2e-4, 5e-3)
    return low * factor, high * factor


def _reward_kind(name: str) -> RewardKind:
    return "progress" if name == "progress" else "potential"
