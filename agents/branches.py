"""Branches: trainings that part at a decision, one constant action for each from there on.

What a rate is worth shows at the end of a training, and little of it in the noise that an agent
explores with. Trainings that are one until some decision, and are then held an octave or more
apart to their ends, show it plainly: all that differs between their ends is the action.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agents.config import TrainConfig
from agents.curriculum import StackPlan, plan_stack
from lr_env.randomness import derive_seed, torch_generator
from lr_env.stack import Stack

ACTIONS = (-0.25, -0.1, 0.0, 0.1, 0.25)
"""Held from the parting on: under a leak of a tenth, up to 2.5 octaves from the start."""
MOST_BEFORE = 0.15
"""The largest constant action that trainings of one instance share before they part."""
AT_ONCE, LATEST = 0.3, 0.6
"""Share of instances that part at their first decision; share of the budget by which all have."""
FINE_TUNING_AT_ONCE = 2
DIVERGED = -3.0
"""Potential that stands for one which is not a number."""


@dataclass(frozen=True)
class Branches:
    """What trainings of one stack saw when they parted, and how each of them ended.

    Attributes:
        observation: of every instance at its parting `[I, L, F]`.
        outcome: final potentials `[I, K]` under each of `ACTIONS`.
    """

    observation: Tensor
    outcome: Tensor


def plan_branches(config: TrainConfig) -> Iterator[StackPlan]:
    """Draw the stacks whose trainings part: kinds of the mix, but none that the agent meets later.

    A stack has `config.branch_instances` instances, each as often as there are actions.
    Fine-tuning, whose networks have to be pretrained first, comes half as often with twice as many.
    """
    other = replace(config, seed=derive_seed(config.seed, "branches") % 2**31)
    for number in range(config.branches):
        generation, index = divmod(number, config.stacks)
        plan = plan_stack(other, index, generation)
        times = FINE_TUNING_AT_ONCE if plan.fine_tunes else 1
        if generation % times:
            continue
        lanes = times * config.branch_instances * len(ACTIONS)
        yield replace(plan, entry=replace(plan.entry, lanes=lanes), twins=len(ACTIONS))


def grow(plan: StackPlan) -> Branches:
    """Train all lanes of `plan` to their ends; those of one instance part on the way."""
    stack = Stack(plan.entry.task, plan.entry.lanes, plan.entry.settings)
    active = torch.ones(stack.num, dtype=torch.bool)
    observation = stack.begin(active, plan.seeds)
    instances, layers = stack.num // len(ACTIONS), len(stack.layers)
    before, parting = _draw(plan.seed, instances)
    after = torch.tensor(ACTIONS).repeat(instances)
    parted = torch.zeros_like(active)
    seen = torch.zeros_like(observation)
    final = torch.zeros(stack.num, dtype=torch.float64)
    while active.any():
        now = ~parted & (stack.steps >= parting * stack.total_steps)
        seen[now], parted = observation[now], parted | now
        action = torch.where(parted, after, before)
        outcome = stack.advance(action.unsqueeze(1).expand(-1, layers), active)
        final = torch.where(active, outcome.potential, final)
        observation, active = outcome.observation, active & ~outcome.terminated
    return Branches(
        observation=seen[:: len(ACTIONS)].float(),
        outcome=final.nan_to_num(nan=DIVERGED).float().view(instances, len(ACTIONS)),
    )


def _draw(seed: int, instances: int) -> tuple[Tensor, Tensor]:
    """Return the action before the parting and its share of the budget, for every lane."""
    generator = torch_generator(seed, "branches")
    before = MOST_BEFORE * (2.0 * torch.rand(instances, generator=generator) - 1.0)
    parting = LATEST * torch.rand(instances, generator=generator)
    at_once = torch.rand(instances, generator=generator) < AT_ONCE
    parting = parting.masked_fill(at_once, 0.0)
    return before.repeat_interleave(len(ACTIONS)), parting.repeat_interleave(len(ACTIONS))
