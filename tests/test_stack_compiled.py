"""Compiled stacks make the same trainings as eager ones, block by block."""

import warnings
from functools import partial

import pytest
import torch

from lr_env.stack import Stack, StackSettings, blocks
from tests.toys import ToyTask

LANES = 5


def _pair(architecture: str, optimizer: str) -> tuple[Stack, Stack]:
    """Return an eager and a compiled stack whose lanes end at different times."""
    task = partial(ToyTask, architecture=architecture)
    stacks = []
    for compiled in (False, True):
        settings = StackSettings(
            optimizer=optimizer, base_lr=(1e-4, 1e-2), schedules=("cosine", "constant"),
            total_steps=(8, 30), steps_per_action=3, dtype=torch.float64, compile=compiled,
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


def _check(monkeypatch: pytest.MonkeyPatch, architecture: str, optimizer: str) -> None:
    monkeypatch.setattr(blocks, "_CACHE", 1)
    monkeypatch.setattr(blocks, "_FEWEST", 3)
    eager, compiled = _pair(architecture, optimizer)
    assert len(compiled._blocks) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        gap, ended = _largest_gap(eager, compiled, 14)
    assert ended > 0
    assert gap <= 1e-9


def test_compiled_equals_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    _check(monkeypatch, "layernorm", "adam")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_compiled_equals_eager_with_batchnorm(
    monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    _check(monkeypatch, "batchnorm", optimizer)


def test_a_stack_with_dropout_says_that_it_runs_eagerly() -> None:
    eager, compiled = _pair("dropout", "adam")
    eager.reset(0)
    compiled.reset(0)
    idle = torch.zeros(LANES, len(eager.layers))
    with pytest.warns(RuntimeWarning, match="random numbers"):
        outcome = compiled.step(idle)
    assert torch.equal(outcome.observation, eager.step(idle).observation)
