"""The lanes of the vector environment are single environments."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from lr_env.env import LayerwiseLREnv
from lr_env.schedules import cosine
from lr_env.tasks import TensorTask
from lr_env.vector_env import LayerwiseLRVectorEnv
from tests.toys import HalfPretrainedTask, ToyTask, build_toy_model

LANES, SEED = 3, 7
BATCHNORM = partial(ToyTask, architecture="batchnorm")


def gap_to_singles(decisions: int, **arguments: Any) -> tuple[float, int]:
    """Return the largest gap of observations, rewards and infos, and how many trainings ended.

    Gaps of infos above 1 are relative: losses of diverging trainings are large.
    """
    envs = LayerwiseLRVectorEnv(LANES, **arguments)
    singles = [LayerwiseLREnv(**arguments) for _ in range(LANES)]
    seeds = [SEED + lane for lane in range(LANES)]
    begun = [env.reset(seed=seed) for env, seed in zip(singles, seeds, strict=True)]
    gaps, ended = [], 0

    def compare(seen: Any, infos: dict[str, Any], lane: int, own: tuple[Any, Any]) -> None:
        gaps.append(np.abs(seen - own[0]).max())
        assert [name for name in infos if not name.startswith(("_", "final"))] == list(own[1])
        for name, value in own[1].items():
            assert infos[f"_{name}"][lane]
            gaps.append(np.max(np.abs(infos[name][lane] * 1.0 - value) / np.maximum(1.0, value)))

    observations, infos = envs.reset(seed=SEED)
    for lane, own in enumerate(begun):
        compare(observations[lane], infos, lane, own)
    random = np.random.default_rng(0)
    for _ in range(decisions):
        action = (
            random.integers(1, 4, envs.action_space.shape)
            if arguments.get("discrete")
            else random.uniform(-0.3, 0.3, envs.action_space.shape)
        )
        observations, rewards, terminations, truncations, infos = envs.step(action)
        assert not truncations.any()
        for lane, (env, row) in enumerate(zip(singles, action, strict=True)):
            observation, reward, terminated, _, info = env.step(row)
            assert terminations[lane] == terminated
            gaps.append(abs(rewards[lane] - reward))
            if terminated:
                ended += 1
                assert infos["_final_obs"][lane]
                assert infos["_final_info"][lane]
                compare(infos["final_obs"][lane], infos["final_info"], lane, (observation, info))
                observation, info = env.reset()
            compare(observations[lane], infos, lane, (observation, info))
    return float(max(gaps)), ended


def threefold(step: int, total_steps: int) -> float:
    """A schedule of a user's own, above the base rate."""
    return 3.0


SAME: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "Adam", "base_schedule": "linear", "z_init": "cautious"},
    "calibrated": {
        "z_init": "calibrated",
        "envelope_schedule": "linear",
        "base_schedule": "cosine",
        "z_max": 12.0,
        "reach": 1.0,
        "leak": 0.2,
        "max_step": 1.0,
    },
    "matched": {
        "z_init": "matched",
        "envelope_schedule": "linear",
        "z_max": 12.0,
        "batch_size": 4,
    },
    "above the base rate": {
        "z_init": "calibrated",
        "envelope_schedule": "linear",
        "base_schedule": threefold,
    },
    "pretrained": {"task": HalfPretrainedTask, "z_init": "calibrated", "pretrained_reach": 0.0},
    "shared": {"task": HalfPretrainedTask, "pretrained_reach": 0.0, "shared_action": True},
    "adamw": {"optimizer": "adamw", "optimizer_arguments": {"weight_decay": 0.1}},
    "sgd": {"optimizer": "sgd", "base_schedule": cosine, "reward_kind": "progress"},
    "rmsprop": {"optimizer": "rmsprop", "action_mode": "residual", "z_max": 3.0, "gamma": 0.9},
    "batchnorm": {"task": BATCHNORM, "observe_validation": True, "validation_samples": 20},
    "discrete": {"discrete": True, "max_step": 1.0, "batch_size": 10},
    "warm restarts": {"base_schedule": lambda step, total: 2.0 - step % 3},
    "a batch larger than the data": {"batch_size": 100, "z_init": "matched", "z_max": 14.0},
    "same data": {"task": ToyTask(3), "steps_per_action": 1},
}


@pytest.mark.parametrize("arguments", SAME.values(), ids=SAME)
def test_lanes_equal_single_environments_in_float64(arguments: dict[str, Any]) -> None:
    gap, ended = gap_to_singles(50, **{
        "task": "toy", "base_lr": (1e-4, 1e-2), "num_decisions": 20, "steps_per_action": 2,
        "dtype": torch.float64, **arguments,
    })  # fmt: skip
    assert gap <= 1e-6
    assert ended == 2 * LANES


def test_lanes_equal_single_environments_in_float32() -> None:
    gap, _ = gap_to_singles(10, task=BATCHNORM)
    assert gap <= 1e-3


def test_lanes_that_diverge_end_as_single_environments_do() -> None:
    gap, ended = gap_to_singles(
        8, task="toy", optimizer="sgd", base_lr=(1.0, 1e30), base_schedule="cosine",
        dtype=torch.float64, total_steps=40,
    )  # fmt: skip
    assert gap <= 1e-6
    assert ended > LANES


def test_validation_in_several_batches_is_that_of_single_environments() -> None:
    class Long(TensorTask):
        name = "long"
        batch_size = 16

        def __init__(self, seed: int = 0) -> None:
            toy = [ToyTask(seed + part) for part in range(10)]
            inputs, targets = (
                torch.cat([task.tensors("validation")[index] for task in toy]) for index in (0, 1)
            )
            super().__init__(
                {"train": (inputs, targets), "validation": (inputs, targets),
                 "test": (inputs, targets)}, seed,
            )  # fmt: skip

        def build_model(self) -> torch.nn.Module:
            return build_toy_model()

    gap, _ = gap_to_singles(3, task=Long, validation_samples=299, dtype=torch.float64)
    assert gap <= 1e-6
