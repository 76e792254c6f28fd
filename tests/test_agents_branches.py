"""Branches: one training until it parts, and a constant action from there on."""

import pytest
import torch

from agents.branches import ACTIONS, AT_ONCE, LATEST, Branches, grow, plan_branches
from agents.config import TrainConfig
from agents.curriculum import StackPlan, plan_stack
from lr_env.stack import Stack

# Of what is off by default (`--branches`), and half a minute.
pytestmark = pytest.mark.slow

CONFIG = TrainConfig(stacks=2, branches=3, branch_instances=4, fine_tuning=False)


@pytest.fixture(scope="module")
def plan() -> StackPlan:
    return next(plan_branches(CONFIG))


@pytest.fixture(scope="module")
def branches(plan: StackPlan) -> Branches:
    return grow(plan)


def test_stacks_are_of_the_mix_but_none_that_the_agent_meets() -> None:
    plans = list(plan_branches(CONFIG))
    assert len(plans) == CONFIG.branches
    for number, own in enumerate(plans):
        generation, index = divmod(number, CONFIG.stacks)
        later = plan_stack(CONFIG, index, generation)
        assert own.spec.architecture == later.spec.architecture
        assert own.seed != later.seed
        assert own.entry.lanes == CONFIG.branch_instances * len(ACTIONS)
        assert own.seeds == [own.seed + lane // len(ACTIONS) for lane in range(own.entry.lanes)]


def test_fine_tuning_comes_half_as_often_with_twice_as_many() -> None:
    plans = list(plan_branches(TrainConfig(branches=40)))
    lanes = [plan.entry.lanes for plan in plans if plan.fine_tunes]
    assert len(lanes) == 2
    assert set(lanes) == {2 * 8 * len(ACTIONS)}
    assert len(plans) == 40 - 2


def test_every_action_has_an_end(branches: Branches, plan: StackPlan) -> None:
    layers = len(Stack(plan.entry.task, 1, plan.entry.settings).layers)
    assert branches.observation.shape[:2] == (CONFIG.branch_instances, layers)
    assert branches.outcome.shape == (CONFIG.branch_instances, len(ACTIONS))
    assert branches.outcome.isfinite().all()
    # What differs between an instance's ends is the action alone, and it does make a difference.
    assert (branches.outcome.std(1) > 0.0).all()


def test_the_same_plan_grows_the_same(branches: Branches, plan: StackPlan) -> None:
    again = grow(plan)
    assert torch.equal(again.observation, branches.observation)
    assert torch.equal(again.outcome, branches.outcome)


def test_trainings_of_an_instance_are_one_until_they_part(plan: StackPlan) -> None:
    """Parting at once from zero actions, the middle branch is a training that nobody touches."""
    from agents import branches as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "AT_ONCE", 1.0)
        patch.setattr(module, "MOST_BEFORE", 0.0)
        parted = grow(plan)
    stack = Stack(plan.entry.task, plan.entry.lanes, plan.entry.settings)
    active = torch.ones(stack.num, dtype=torch.bool)
    first = stack.begin(active, plan.seeds)[:: len(ACTIONS)].float()
    assert torch.equal(parted.observation, first)
    final = torch.zeros(stack.num, dtype=torch.float64)
    while active.any():
        outcome = stack.advance(torch.zeros(stack.num, first.shape[1]), active)
        final = torch.where(active, outcome.potential, final)
        active &= ~outcome.terminated
    alone = final.view(-1, len(ACTIONS))[:, ACTIONS.index(0.0)].float()
    assert torch.allclose(parted.outcome[:, ACTIONS.index(0.0)], alone, atol=1e-4)


def test_partings_are_spread_over_the_budget() -> None:
    from agents.branches import _draw

    before, parting = _draw(0, 4000)
    own = parting[:: len(ACTIONS)]
    assert torch.equal(own.repeat_interleave(len(ACTIONS)), parting)
    assert float((own == 0.0).float().mean()) == pytest.approx(AT_ONCE, abs=0.03)
    assert float(own.max()) == pytest.approx(LATEST, abs=0.01)
    assert float(before.abs().max()) <= 0.15
    assert abs(float(before.mean())) < 0.01
