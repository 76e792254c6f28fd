"""On a GPU a stack makes the trainings that it makes on the CPU; skipped where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from lr_env.env import LayerwiseLREnv
from lr_env.stack import Stack, StackSettings, TaskFactory, trainings
from lr_env.stack.captured import CapturedArithmetic
from lr_env.stack.interval import Interval
from lr_env.tasks.family import FamilyTask, held_out_specs
from lr_env.vector_env import LayerwiseLRVectorEnv
from tests.toys import ToyTask

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

LANES = 5
BATCHNORM = partial(ToyTask, architecture="batchnorm")
DROPOUT = partial(ToyTask, architecture="dropout")
CNN = partial(FamilyTask, next(own for own in held_out_specs() if own.architecture == "cnn"))
TRANSFORMER = partial(
    FamilyTask, next(own for own in held_out_specs() if own.architecture == "transformer")
)


@pytest.fixture(params=[True, False], ids=["captured", "eager"])
def capture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(trainings, "CapturedArithmetic", lambda eager, device: eager)
    return bool(request.param)


def _pair(task: TaskFactory, **arguments: Any) -> tuple[Stack, Stack]:
    """Return a stack on the CPU and one on the GPU."""
    own = {"base_lr": (1e-4, 1e-2), "schedules": ("linear",), "steps_per_action": 3, **arguments}
    one, other = (
        Stack(task, LANES, StackSettings(**own, device=device)) for device in ("cpu", "cuda")
    )
    return one, other


def _largest_gap(one: Stack, other: Stack, decisions: int) -> tuple[float, int]:
    gaps = [(one.reset(7) - other.reset(7)).abs().max()]
    generator, ended = torch.Generator().manual_seed(0), 0
    for turn in range(decisions):
        if turn == 8:
            mask, seeds = (
                torch.tensor([True, False, True, False, False]),
                [50 + i for i in range(5)],
            )
            gaps.append((one.begin(mask, seeds) - other.begin(mask, seeds)).abs().max())
        action = torch.rand(LANES, len(one.layers), generator=generator) - 0.5
        ours, theirs = one.step(action), other.step(action)
        assert torch.equal(ours.terminated, theirs.terminated)
        gaps.append((ours.observation - theirs.observation).abs().max())
        gaps.append((ours.final_observation - theirs.final_observation).abs().max())
        gaps.append((ours.reward - theirs.reward).abs().max())
        ended += int(ours.terminated.sum())
    gaps.append((one.learning_rates - other.learning_rates).abs().max())
    return float(max(gaps)), ended


@pytest.mark.parametrize(
    ("task", "optimizer"),
    [(BATCHNORM, "adam"), (BATCHNORM, "rmsprop"), (CNN, "adamw"), (TRANSFORMER, "sgd")],
    ids=["batchnorm-adam", "batchnorm-rmsprop", "cnn-adamw", "transformer-sgd"],
)
def test_lanes_equal_those_on_the_cpu_in_float64(
    task: TaskFactory, optimizer: str, capture: bool
) -> None:
    one, other = _pair(task, optimizer=optimizer, total_steps=(12, 40), dtype=torch.float64)
    gap, ended = _largest_gap(one, other, 20)
    assert gap <= 1e-8
    assert ended > 0  # autoreset was crossed
    arithmetic = other._trainings._runner.arithmetic
    assert isinstance(arithmetic, CapturedArithmetic) == capture
    if isinstance(arithmetic, CapturedArithmetic):
        assert not arithmetic.failed
        assert len(arithmetic._graphs) >= 4


@pytest.mark.usefixtures("capture")
def test_lanes_equal_those_on_the_cpu_in_float32() -> None:
    gap, _ = _largest_gap(*_pair(BATCHNORM, total_steps=60), 10)
    assert gap <= 1e-2


def test_updates_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Interval.run
    monkeypatch.setattr(trainings, "CapturedArithmetic", lambda eager, device: eager)

    @contextmanager
    def watched() -> Iterator[None]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def run_watched(self: Interval, *given: Any) -> None:
        with watched():
            run(self, *given)

    monkeypatch.setattr(Interval, "run", run_watched)
    _, other = _pair(BATCHNORM, total_steps=(20, 60))
    other.reset(0)
    for _ in range(12):
        other.step(torch.zeros(LANES, len(other.layers)))


def test_state_goes_on_on_the_other_device() -> None:
    one, other = _pair(BATCHNORM, total_steps=60, dtype=torch.float64)
    one.reset(0)
    idle = torch.zeros(LANES, len(one.layers))
    for _ in range(4):
        one.step(idle)
    # The generator of dropout masks belongs to its device.
    state = {**one.state_dict(), "dropout": other.state_dict()["dropout"]}
    other.load_state_dict(state)
    for _ in range(6):
        gap = (one.step(idle).observation - other.step(idle).observation).abs().max()
        assert gap <= 1e-8


def test_dropout_is_reproducible_eager_and_off_the_callers_generators() -> None:
    before = torch.cuda.get_rng_state()
    runs = []
    for _ in range(2):
        _, other = _pair(DROPOUT, total_steps=60)
        other.reset(3)
        with pytest.warns(RuntimeWarning, match="random numbers"):
            runs.append(other.step(torch.zeros(LANES, 2)).observation)
        runs.append(other.step(torch.zeros(LANES, 2)).observation)
    assert torch.equal(runs[0], runs[2])
    assert torch.equal(runs[1], runs[3])
    assert torch.equal(before, torch.cuda.get_rng_state())


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_the_vector_environment_on_a_gpu(workers: int, mode: str) -> None:
    arguments: dict[str, Any] = {
        "base_lr": (1e-4, 1e-2), "num_decisions": 6, "dtype": torch.float64,
        "autoreset_mode": mode,
    }  # fmt: skip
    one = LayerwiseLRVectorEnv(4, BATCHNORM, **arguments)
    other = LayerwiseLRVectorEnv(4, BATCHNORM, device="cuda", workers=workers, **arguments)
    try:
        np.testing.assert_allclose(one.reset(seed=3)[0], other.reset(seed=3)[0], atol=1e-6)
        generator = np.random.default_rng(0)
        for turn in range(14):
            if turn == 4:
                options = {"reset_mask": np.array([False, False, True, True])}
                begun = [envs.reset(seed=9, options=options)[0] for envs in (one, other)]
                np.testing.assert_allclose(*begun, atol=1e-6)
            action = generator.uniform(-1, 1, one.action_space.shape).astype(np.float32)
            ours, theirs = one.step(action), other.step(action)
            for mine, its in zip(ours[:4], theirs[:4], strict=True):
                np.testing.assert_allclose(mine, its, atol=1e-6)
    finally:
        other.close()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_single_environment_on_a_gpu(optimizer: str) -> None:
    arguments: dict[str, Any] = {
        "task": BATCHNORM, "optimizer": optimizer, "num_decisions": 8, "dtype": torch.float64,
    }  # fmt: skip
    one, other = LayerwiseLREnv(**arguments), LayerwiseLREnv(device="cuda", **arguments)
    np.testing.assert_allclose(one.reset(seed=3)[0], other.reset(seed=3)[0], atol=1e-6)
    for _ in range(8):
        action = np.full(one.action_space.shape, 0.3, np.float32)
        ours, theirs = one.step(action), other.step(action)
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)
        assert ours[1] == pytest.approx(theirs[1], abs=1e-8)
        assert ours[2] == theirs[2]
