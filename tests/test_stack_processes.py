"""Lanes divided among processes are the same trainings, and failures are told in one sentence."""

import multiprocessing
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from lr_env.errors import InvalidArgumentError, WorkerError
from lr_env.stack import SplitStack, StackSettings
from lr_env.tasks import Task
from lr_env.vector_env import LayerwiseLRVectorEnv
from tests.toys import ToyTask

BATCHNORM = partial(ToyTask, architecture="batchnorm")
ARGUMENTS: dict[str, Any] = {"base_lr": (1e-4, 1e-1), "num_decisions": 6, "steps_per_action": 3}


def _task(seed: int) -> Task:
    return ToyTask(seed)


def test_two_processes_make_the_trainings_of_one() -> None:
    whole = LayerwiseLRVectorEnv(5, _task, **ARGUMENTS)
    split = LayerwiseLRVectorEnv(5, _task, workers=2, **ARGUMENTS)
    try:
        for envs in (whole, split):
            observations, infos = envs.reset(seed=3)
            if envs is whole:
                expected = (observations, infos)
        np.testing.assert_array_equal(observations, expected[0])
        mask = np.array([False, False, True, False, True])
        generator = np.random.default_rng(0)
        for turn in range(14):
            action = generator.uniform(-1, 1, whole.action_space.shape).astype(np.float32)
            ours, theirs = split.step(action), whole.step(action)
            for one, other in zip(ours[:4], theirs[:4], strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(
                ours[4]["learning_rates"], theirs[4]["learning_rates"], rtol=1e-5
            )
            if turn == 4:
                again = [
                    envs.reset(seed=9, options={"reset_mask": mask}) for envs in (split, whole)
                ]
                np.testing.assert_allclose(again[0][0], again[1][0], atol=1e-6)
    finally:
        split.close()


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
@pytest.mark.usefixtures("inline")
def test_a_process_without_a_part_in_a_reset_waits(mode: str) -> None:
    """BatchNorm refuses to run on no lanes: a process whose lanes all go on is not to try."""
    whole, split = (
        LayerwiseLRVectorEnv(4, BATCHNORM, workers=workers, autoreset_mode=mode, **ARGUMENTS)
        for workers in (1, 2)
    )
    idle = np.zeros(whole.action_space.shape, np.float32)

    def step_both() -> np.ndarray:
        ours, theirs = split.step(idle), whole.step(idle)
        for one, other in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        return ours[2]

    try:
        for envs in (whole, split):
            envs.reset(seed=3)
        step_both()
        # The second process's lanes go on, and end without the first's from here on.
        mask = np.array([True, True, False, False])
        one, other = (envs.reset(seed=9, options={"reset_mask": mask}) for envs in (split, whole))
        np.testing.assert_allclose(one[0], other[0], rtol=1e-4, atol=1e-5)
        ends = [step_both().tolist() for _ in range(8)]
        assert [False, False, True, True] in ends
        assert [True, True, False, False] in ends
    finally:
        split.close()


def test_a_dead_process_is_one_sentence() -> None:
    stack = SplitStack(ToyTask, 1, StackSettings(), 1)
    try:
        stack.begin(torch.ones(1, dtype=torch.bool), [0])
        (process,) = stack._processes._processes
        process.kill()
        process.join()
        with pytest.raises(WorkerError, match="use fewer trainings"):
            stack.begin(torch.ones(1, dtype=torch.bool), [0])
    finally:
        stack.close()


def test_errors_of_the_trainings_and_of_the_caller_are_told_as_they_are() -> None:
    with pytest.raises(InvalidArgumentError, match="workers"):
        LayerwiseLRVectorEnv(2, _task, workers=3, **ARGUMENTS)
    before = set(multiprocessing.active_children())
    settings = StackSettings(optimizer_arguments={"amsgrad": True})
    with pytest.raises(InvalidArgumentError, match="amsgrad") as caught:
        SplitStack(ToyTask, 2, settings, 1)
    assert set(multiprocessing.active_children()) <= before, caught
    with pytest.raises(InvalidArgumentError, match="without lambdas"):
        SplitStack(lambda seed: ToyTask(seed), 2, StackSettings(), 2)


@pytest.mark.usefixtures("inline")
def test_every_lane_has_its_own_base_rate_in_every_process() -> None:
    settings = StackSettings(lane_rates=(1e-4, 1e-3, 1e-2))
    stack = SplitStack(ToyTask, 3, settings, 2)
    try:
        stack.begin(torch.ones(3, dtype=torch.bool), [0, 1, 2])
        assert stack.figures.base_lr.tolist() == [1e-4, 1e-3, 1e-2]
    finally:
        stack.close()
