"""Branches: trainings of one instance, held some octaves from their starts, and their ends."""

from dataclasses import replace

import pytest
import torch

from agents import branches as module
from agents.branches import (
    MOMENTS,
    OCTAVES,
    PAIRS,
    Branches,
    draw_signs,
    group_design,
    grow,
    plan_branches,
    worth,
)
from agents.config import TrainConfig
from agents.curriculum import StackPlan, plan_stack
from lr_env.layers import Layer, LayerKind
from lr_env.stack import Stack

CONFIG = TrainConfig(stacks=2, branches=3, branch_instances=4, fine_tuning=False)
LANES = 1 + 2 * PAIRS
# Of what is off by default (`--branches`).
grows = pytest.mark.slow


@pytest.fixture(scope="module")
def plan() -> StackPlan:
    """A short one of a perceptron."""
    plan = next(plan_branches(replace(CONFIG, branch_instances=2)))
    settings = replace(plan.entry.settings, total_steps=(20, 40), steps_per_action=2)
    return replace(plan, entry=replace(plan.entry, settings=settings))


@pytest.fixture(scope="module")
def branches(plan: StackPlan) -> Branches:
    return grow(plan)


def _layers(kinds: str) -> list[Layer]:
    named = {"m": LayerKind.MATRIX, "n": LayerKind.NORMALISATION}
    return [
        Layer(str(number), named[kind], ("w",), 1, 1, False, False, 0.0)
        for number, kind in enumerate(kinds)
    ]


def test_stacks_are_of_the_mix_but_none_that_the_agent_meets() -> None:
    plans = list(plan_branches(CONFIG))
    assert len(plans) == CONFIG.branches
    for number, own in enumerate(plans):
        generation, index = divmod(number, CONFIG.stacks)
        later = plan_stack(CONFIG, index, generation)
        assert own.spec.architecture == later.spec.architecture
        assert own.seed != later.seed
        assert own.entry.lanes == 4 * LANES
        assert own.seeds == [own.seed + lane // LANES for lane in range(own.entry.lanes)]


def test_dear_kinds_come_seldom_or_with_few_instances() -> None:
    plans = list(plan_branches(TrainConfig(branches=80, branch_instances=4)))
    assert sum(plan.fine_tunes for plan in plans) == 2
    for plan in plans:
        assert plan.entry.lanes == LANES * (1 if plan.spec.inputs == "image" else 4)


def test_groups_of_layers() -> None:
    assert group_design(_layers("mnmm")).tolist() == [
        [1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0],
    ]  # fmt: skip


@pytest.mark.parametrize("instances", [1, 2, 5])
def test_signs_of_two_instances_are_orthogonal(instances: int) -> None:
    signs = draw_signs(3, instances)
    assert signs.shape == (instances, PAIRS, 2 * len(OCTAVES))
    assert torch.equal(signs.abs(), torch.ones_like(signs))
    for first in range(0, instances - 1, 2):
        both = signs[first : first + 2].flatten(0, 1)
        assert torch.equal(both.T @ both, 8.0 * torch.eye(8))
    assert not torch.equal(signs, draw_signs(4, instances))


def test_worth_is_what_ends_were_made_of() -> None:
    """Two instances whose ends are linear in the offsets, and even in them besides."""
    design = group_design(_layers("mmnm"))
    signs = draw_signs(0, 2)
    truth = torch.tensor([[0.02, -0.01, 0.03, 0.0], [0.01, 0.04, -0.02, 0.05]])
    octaves = (signs * torch.tensor(OCTAVES * 2)).view(2, PAIRS, 2, len(OCTAVES))
    odd, even = (octaves * truth).sum((2, 3)), octaves[..., 0, 1] * octaves[..., 0, 2]
    ends = 1.0 + torch.cat([torch.zeros(2, 1), odd + even, even - odd], 1)
    found = worth(ends, signs, design).mean(0)
    # Moving a group gains what it was made to; one layer's share of it is even among its own.
    assert torch.allclose(found @ design.T, truth, atol=1e-6)
    assert float(found[0, 1]) == pytest.approx((0.02 + 0.01 - 0.03 - 0.0) / 1.0, abs=1e-6)


def test_a_divergence_counts_no_more_than_any_great_loss() -> None:
    design, signs = group_design(_layers("mm")), draw_signs(0, 2)
    ends = torch.ones(2, LANES)
    ends[0, 1] = torch.nan
    great = ends.clone()
    great[0, 1] = -3.0
    assert torch.equal(worth(ends, signs, design), worth(great, signs, design))
    assert worth(ends, signs, design).isfinite().all()


@grows
def test_what_is_kept_of_trainings(branches: Branches, plan: StackPlan) -> None:
    layers = len(Stack(plan.entry.task, 1, plan.entry.settings).layers)
    assert branches.observation.shape[:3] == (len(MOMENTS), 2, layers)
    assert branches.worth.shape == (2, 2, layers)
    assert branches.worth.isfinite().all()
    assert float(branches.worth.abs().min()) > 0.0
    assert torch.equal(branches.movable, torch.ones(layers))


@grows
def test_the_same_plan_grows_the_same(branches: Branches, plan: StackPlan) -> None:
    again = grow(plan)
    for name, own in vars(branches).items():
        assert torch.equal(own, getattr(again, name))


@grows
def test_what_is_looked_at_are_trainings_that_nobody_touched(
    branches: Branches, plan: StackPlan
) -> None:
    stack = Stack(plan.entry.task, plan.entry.lanes, plan.entry.settings)
    active = torch.ones(stack.num, dtype=torch.bool)
    observation = stack.begin(active, plan.seeds)
    kept = torch.full((len(MOMENTS), *observation[::LANES].shape), torch.nan)
    while active.any():
        progress = (stack.steps / stack.total_steps)[::LANES]
        for number, moment in enumerate(MOMENTS):
            now = (progress >= moment) & kept[number, :, 0, 0].isnan()
            kept[number, now] = observation[::LANES][now].float()
        outcome = stack.advance(torch.zeros(observation.shape[:2]), active)
        observation, active = outcome.observation, active & ~outcome.terminated
    # What is seen of a rate hangs on the envelope's width by nothing but rounding.
    assert torch.allclose(branches.observation, kept, atol=1e-4)


@grows
def test_layers_that_nothing_moves_have_no_worth() -> None:
    config = TrainConfig(branches=3, branch_instances=1)
    plan = list(plan_branches(config))[2]
    assert plan.fine_tunes
    settings = replace(plan.entry.settings, total_steps=4, steps_per_action=2)
    found = grow(replace(plan, entry=replace(plan.entry, settings=settings)))
    assert found.movable.tolist()[-1] == 1.0
    assert 0.0 in found.movable
    assert float((found.worth * (1.0 - found.movable)).abs().max()) < 1e-7


@grows
def test_offsets_change_once(plan: StackPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[torch.Tensor] = []
    advance = Stack.advance

    def watched(stack: Stack, action: torch.Tensor, active: torch.Tensor) -> object:
        if active.all():
            moves.append(action * module.LARGEST_MOVE)
        return advance(stack, action, active)

    monkeypatch.setattr(Stack, "advance", watched)
    grow(plan)
    sizes = torch.stack(moves).abs().amax(-1)
    assert torch.equal(sizes[0] > 0, torch.arange(plan.entry.lanes) % LANES > 0)
    assert set((sizes[1:] > 1e-6).sum(0).tolist()) <= {0, 1}
