"""Lane i of a stack is the single environment seeded with s + i."""

from functools import partial

import numpy as np
import pytest
import torch

from lr_env.action import Envelope
from lr_env.env import LayerwiseLREnv
from lr_env.errors import InvalidArgumentError
from lr_env.stack import Stack, StackSettings, TaskFactory
from tests.toys import HalfPretrainedTask, LateTask, ToyTask

LANES, SEED, STEPS = 3, 7, 60
LAYERNORM = partial(ToyTask, architecture="layernorm")
BATCHNORM = partial(ToyTask, architecture="batchnorm")
PRETRAINED = partial(HalfPretrainedTask, architecture="layernorm")
TASKS = {"layernorm": LAYERNORM, "batchnorm": BATCHNORM, "pretrained": PRETRAINED}


def lane_settings(optimizer: str, schedule: str, dtype: torch.dtype) -> StackSettings:
    return StackSettings(
        optimizer=optimizer, base_lr=(1e-4, 1e-2), schedules=(schedule,), total_steps=STEPS,
        steps_per_action=3, dtype=dtype,
    )  # fmt: skip


def _env(task: TaskFactory, settings: StackSettings) -> LayerwiseLREnv:
    return LayerwiseLREnv(
        task, optimizer=settings.optimizer, base_lr=(1e-4, 1e-2),
        base_schedule=settings.schedules[0], total_steps=STEPS, steps_per_action=3,
        z_init="cautious", dtype=settings.dtype,
    )  # fmt: skip


def largest_gap(task: TaskFactory, settings: StackSettings, decisions: int) -> tuple[float, int]:
    """Return the largest gap of observations and rewards, and how many trainings ended."""
    stack = Stack(task, LANES, settings)
    envs = [_env(task, settings) for _ in range(LANES)]
    begun = stack.reset(SEED).float().numpy()
    singles = np.stack([env.reset(seed=SEED + lane)[0] for lane, env in enumerate(envs)])
    gaps, ended = [np.abs(begun - singles).max()], 0
    random = np.random.default_rng(0)
    for _ in range(decisions):
        action = random.uniform(-0.3, 0.3, (LANES, len(stack.layers)))
        outcome = stack.step(torch.from_numpy(action))
        results = [env.step(own) for env, own in zip(envs, action, strict=True)]
        seen = np.stack([result[0] for result in results])
        gaps.append(np.abs(outcome.final_observation.float().numpy() - seen).max())
        gaps.append(np.abs(outcome.reward.numpy() - [result[1] for result in results]).max())
        assert outcome.terminated.tolist() == [result[2] for result in results]
        if outcome.terminated.all():
            ended += LANES
            fresh = np.stack([env.reset()[0] for env in envs])
            gaps.append(np.abs(outcome.observation.float().numpy() - fresh).max())
    return float(max(gaps)), ended


@pytest.mark.parametrize(
    ("optimizer", "task"),
    [
        # Every optimizer and every network by default; what both have with others is slow.
        pytest.param(
            optimizer, task, id=f"{optimizer}-{name}",
            marks=() if optimizer in ("adam", "sgd") or name == "batchnorm" else pytest.mark.slow,
        )
        for optimizer in ("adam", "adamax", "adamw", "sgd", "rmsprop")
        for name, task in TASKS.items()
    ],
)  # fmt: skip
def test_lanes_equal_single_environments_in_float64(optimizer: str, task: TaskFactory) -> None:
    gap, ended = largest_gap(task, lane_settings(optimizer, "linear", torch.float64), 50)
    assert gap <= 1e-6
    assert ended >= LANES  # autoreset was crossed


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_lanes_equal_single_environments_where_a_layer_has_no_gradient_at_first(
    optimizer: str,
) -> None:
    gap, ended = largest_gap(LateTask, lane_settings(optimizer, "linear", torch.float64), 25)
    assert gap <= 1e-6
    assert ended >= LANES


def test_lanes_equal_single_environments_in_float32() -> None:
    gap, _ = largest_gap(LAYERNORM, lane_settings("adam", "constant", torch.float32), 10)
    assert gap <= 1e-3


def test_a_diverged_lane_ends_at_the_floor_and_begins_anew() -> None:
    settings = StackSettings(optimizer="sgd", base_lr=1e30, total_steps=40)
    stack = Stack(LAYERNORM, 2, settings)
    stack.reset(0)
    ended = torch.zeros(2, dtype=torch.bool)
    for _ in range(8):
        outcome = stack.step(torch.ones(2, len(stack.layers)))
        assert torch.isfinite(outcome.observation).all()
        assert torch.isfinite(outcome.reward).all()
        assert (outcome.potential[outcome.diverged] == -5.0).all()
        assert (outcome.terminated[outcome.diverged]).all()
        ended |= outcome.diverged
    assert ended.all()


def test_where_nothing_begins_and_nothing_moves_all_stays_as_it_was() -> None:
    stack = Stack(BATCHNORM, 2, StackSettings(total_steps=40))
    stack.reset(0)
    stack.step(torch.zeros(2, len(stack.layers)))
    none = torch.zeros(2, dtype=torch.bool)
    before = stack.state_dict()
    assert torch.equal(stack.begin(none, [5, 6]), before["own"]["_observation"])
    outcome = stack.advance(torch.ones(2, len(stack.layers)), none)
    assert torch.equal(outcome.observation, before["own"]["_observation"])
    assert not outcome.reward.any()
    assert not outcome.terminated.any()
    now = stack.state_dict()
    for part in ("tensors", "own", "memory", "scope"):
        for name, value in before[part].items():
            torch.testing.assert_close(now[part][name], value, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(now["lanes"]["step"], before["lanes"]["step"])


def test_lanes_of_one_seed_are_the_same_training_from_different_rates() -> None:
    rates = (1e-4, 1e-4, 1e-2)
    settings = StackSettings(lane_rates=rates, total_steps=20, envelope=Envelope(z_init="zero"))
    stack = Stack(LAYERNORM, 3, settings)
    stack.begin(torch.ones(3, dtype=torch.bool), [4, 4, 4])
    assert stack.base_lr.tolist() == list(rates)
    assert len(set(stack.initial_loss.tolist())) == 1
    stack.advance(torch.zeros(3, len(stack.layers)))
    loss = stack.validation_loss
    assert loss[0] == loss[1]
    assert loss[0] != loss[2]
    with pytest.raises(InvalidArgumentError, match="2 lanes"):
        Stack(LAYERNORM, 2, settings)


def test_the_whole_validation_split_is_every_sample_of_it() -> None:
    few = Stack(LAYERNORM, 2, StackSettings(validation_samples=8, total_steps=20))
    all_of_it = Stack(LAYERNORM, 2, StackSettings(validation_samples=32, total_steps=20))
    for stack in (few, all_of_it):
        stack.reset(1)
        stack.advance(torch.zeros(2, len(stack.layers)))
    assert torch.allclose(few.whole_validation_loss(), all_of_it.validation_loss)
    assert not torch.allclose(few.whole_validation_loss(), few.validation_loss)
