"""Compiled stacks make the same trainings as eager ones, block by block."""

import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch

from lr_env.stack import Stack, StackSettings, TaskFactory, blocks
from lr_env.stack.perceptron import Perceptron
from lr_env.tasks.family import FamilyTask, held_out_specs
from tests.toys import ToyTask

LANES = 5


def _toy(architecture: str) -> TaskFactory:
    return partial(ToyTask, architecture=architecture)


def _pair(
    task: TaskFactory, optimizer: str, total_steps: int | tuple[int, int], interval: int = 3
) -> tuple[Stack, Stack]:
    """Return an eager and a compiled stack."""
    stacks = []
    for compiled in (False, True):
        settings = StackSettings(
            optimizer=optimizer, base_lr=(1e-4, 1e-2), schedules=("cosine", "constant"),
            total_steps=total_steps, steps_per_action=interval, dtype=torch.float64,
            compile=compiled,
        )  # fmt: skip
        stacks.append(Stack(task, LANES, settings))
    return stacks[0], stacks[1]


def _largest_gap(eager: Stack, compiled: Stack, decisions: int) -> tuple[float, int]:
    gaps = [(eager.reset(3) - compiled.reset(3)).abs().max()]
    generator, ended = torch.Generator().manual_seed(0), 0
    for _ in range(decisions):
        action = torch.rand(LANES, len(eager.layers), generator=generator) - 0.5
        one, other = eager.step(action), compiled.step(action)
        assert torch.equal(one.terminated, other.terminated)
        gaps += [(one.observation - other.observation).abs().max()]
        gaps += [(one.reward - other.reward).abs().max()]
        ended += int(one.terminated.sum())
    return float(max(gaps)), ended


def _check(
    task: TaskFactory, optimizer: str, total_steps: int | tuple[int, int], interval: int = 3
) -> None:
    eager, compiled = _pair(task, optimizer, total_steps, interval)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        gap, ended = _largest_gap(eager, compiled, 14)
    assert ended > 0
    assert gap <= 1e-9


@pytest.mark.parametrize(
    "architecture",
    [
        "mlp",
        pytest.param("batchnorm", marks=pytest.mark.slow),
        pytest.param("layernorm", marks=pytest.mark.slow),
    ],
)
def test_compiled_equals_eager(monkeypatch: pytest.MonkeyPatch, architecture: str) -> None:
    monkeypatch.setattr(Perceptron, "of", lambda *args: None)
    # An update a decision needs three compiled functions, longer intervals four to six.
    _check(_toy(architecture), "adam", 10, interval=1)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["cnn", "residual_cnn", "transformer"])
def test_compiled_equals_eager_on_networks_of_the_family(architecture: str) -> None:
    (spec,) = [own for own in held_out_specs() if own.architecture == architecture]
    # Not Adam: it makes whole steps of the rounding in a transformer's gradients.
    _check(partial(FamilyTask, replace(spec, depth=1)), "sgd", 10, interval=1)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_compiled_equals_eager_in_blocks_where_lanes_end_apart(
    monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.setattr(blocks, "_COMPILED_CACHE", 1)
    monkeypatch.setattr(blocks, "_FEWEST", 3)
    assert len(blocks.compiled_blocks(LANES, 100, 1)) == 2
    _check(_toy("batchnorm"), optimizer, (8, 30))


def test_a_stack_with_dropout_says_that_it_runs_eagerly() -> None:
    eager, compiled = _pair(_toy("dropout"), "adam", 24)
    eager.reset(0)
    compiled.reset(0)
    idle = torch.zeros(LANES, len(eager.layers))
    with pytest.warns(RuntimeWarning, match="random numbers"):
        outcome = compiled.step(idle)
    assert torch.equal(outcome.observation, eager.step(idle).observation)
