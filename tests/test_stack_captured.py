"""What surrounds CUDA graphs, without a GPU: a stand-in replays by calling what was recorded."""

import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from lr_env.stack import Stack, StackSettings, captured
from lr_env.stack.captured import CapturedArithmetic
from tests.toys import ToyTask

LANES = 4


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "aside", lambda function, passing, device: function(*passing))
    monkeypatch.setattr(captured, "recorded", lambda function, device: function)


def _pair(architecture: str) -> tuple[Stack, Stack, CapturedArithmetic]:
    """Return an eager stack, a captured one, and the latter's arithmetic."""
    settings = StackSettings(
        optimizer="adamw", base_lr=(1e-4, 1e-2), total_steps=(12, 30), steps_per_action=3,
        schedules=("cosine", "constant"),
    )  # fmt: skip
    task = partial(ToyTask, architecture=architecture)
    eager, other = (Stack(task, LANES, settings) for _ in range(2))
    own = CapturedArithmetic(other._trainings._eager, torch.device("cpu"))
    other._trainings._runner.arithmetic = own
    return eager, other, own


def _check_equal(eager: Stack, other: Stack, decisions: int = 30) -> None:
    assert torch.equal(eager.reset(3), other.reset(3))
    generator, ended = torch.Generator().manual_seed(0), 0
    for turn in range(decisions):
        if turn == 9:
            mask = torch.tensor([True, False, False, True])
            assert torch.equal(eager.begin(mask), other.begin(mask))
        action = torch.rand(LANES, len(eager.layers), generator=generator) - 0.5
        one, another = eager.step(action), other.step(action)
        for own, its in zip(vars(one).values(), vars(another).values(), strict=True):
            assert torch.equal(own, its)
        ended += int(one.terminated.sum())
    assert ended > 0


def test_replays_read_what_is_new_and_write_where_the_stack_lies() -> None:
    eager, other, own = _pair("batchnorm")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        _check_equal(eager, other)
        _check_equal(eager, other, 8)
    # An update looked at or not, by all lanes or by some; evaluation and statistics.
    assert len(own._graphs) == 6
    fresh = Stack(partial(ToyTask, architecture="batchnorm"), LANES, other.settings)
    fresh.load_state_dict(other.state_dict())
    idle = torch.zeros(LANES, len(other.layers))
    assert torch.equal(fresh.step(idle).observation, other.step(idle).observation)
    copy = pickle.loads(pickle.dumps(other))  # noqa: S301
    assert copy._trainings._runner.arithmetic._graphs == {}
    assert torch.equal(copy.step(idle).observation, other.step(idle).observation)


def test_a_result_outlives_the_next_replay() -> None:
    _, stack, _ = _pair("mlp")
    stack.reset(0)
    idle = torch.zeros(LANES, len(stack.layers))
    for _ in range(5):
        stack.step(idle)
    inner = stack._trainings
    lanes = inner._tensors.rows(slice(0, LANES))
    factors = torch.ones(LANES, 2)
    first = inner._runner.arithmetic.read(lanes, factors)
    kept = first.clone()
    inner._runner.arithmetic.read(lanes, 2 * factors)
    assert torch.equal(first, kept)


def test_a_model_that_draws_random_numbers_is_not_captured() -> None:
    eager, other, own = _pair("dropout")
    with pytest.warns(RuntimeWarning, match="random numbers") as caught:
        _check_equal(eager, other)
    assert len(caught) == 1
    assert own.failed
    assert own._graphs == {}


def test_where_capture_fails_the_stack_goes_on_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(function: Callable[[], Any], device: torch.device) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(captured, "recorded", fails)
    eager, other, own = _pair("layernorm")
    with pytest.warns(RuntimeWarning, match="not permitted when stream is capturing") as caught:
        _check_equal(eager, other)
    assert len(caught) == 1
    assert own.failed
