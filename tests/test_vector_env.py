"""The vector environment's interface is Gymnasium's: ids, infos, seeds, pickles, wrappers."""

import pickle
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from lr_env.observation import FEATURES
from lr_env.registration import ENV_IDS
from lr_env.vector_env import LayerwiseLRVectorEnv
from tests.toys import ToyTask

DROPOUT = partial(ToyTask, architecture="dropout")
SHORT: dict[str, Any] = {"task": "toy", "num_decisions": 5, "steps_per_action": 2}


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.parametrize("mode", [None, "vector_entry_point", "sync"])
def test_make_vec_by_id(env_id: str, mode: str | None) -> None:
    envs = gymnasium.make_vec(env_id, num_envs=2, vectorization_mode=mode, **SHORT)
    assert isinstance(envs, LayerwiseLRVectorEnv) == (mode != "sync")
    observations, _ = envs.reset(seed=1)
    assert observations.shape == (2, 2, len(FEATURES))
    assert observations in envs.observation_space
    single = gymnasium.make(env_id, **SHORT)
    assert envs.single_observation_space == single.observation_space
    assert envs.single_action_space == single.action_space
    observations, rewards, terminations, truncations, infos = envs.step(envs.action_space.sample())
    assert observations in envs.observation_space
    assert (rewards.dtype, rewards.shape) == (np.float64, (2,))
    assert terminations.dtype == truncations.dtype == np.bool_
    assert infos["learning_rates"].shape == (2, 2)
    assert infos["step"].dtype == np.int64
    envs.close()


def test_infos_have_the_types_of_gymnasiums_own_vector_environment() -> None:
    ours, theirs = (
        gymnasium.make_vec(
            "lr_env/LayerwiseLR-v0", num_envs=2, vectorization_mode=mode,
            vector_kwargs=own, **more, **SHORT,
        )
        for mode, own, more in (
            ("vector_entry_point", {}, {"autoreset_mode": "SameStep"}),
            ("sync", {"autoreset_mode": AutoresetMode.SAME_STEP}, {}),
        )
    )  # fmt: skip

    def types(infos: dict[str, Any]) -> dict[str, Any]:
        return {
            name: types(value) if isinstance(value, dict) else (value.dtype, value.shape)
            for name, value in infos.items()
        }

    assert types(ours.reset(seed=0)[1]) == types(theirs.reset(seed=0)[1])
    for _ in range(5):
        mine, sync = (envs.step(np.zeros((2, 2), np.float32)) for envs in (ours, theirs))
        assert types(mine[-1]) == types(sync[-1])
    assert mine[2].all()


@pytest.mark.filterwarnings("ignore:This stack cannot be compiled")
def test_a_compiled_environment_pickles_too() -> None:
    # Dropout is what cannot be compiled: the rest of the way is the same, and quick.
    envs = LayerwiseLRVectorEnv(2, DROPOUT, num_decisions=8, compile=True)
    envs.reset(seed=3)
    action = np.full((2, 2), 0.3, np.float32)
    envs.step(action)
    copy = pickle.loads(pickle.dumps(envs))  # noqa: S301
    np.testing.assert_array_equal(copy.step(action)[0], envs.step(action)[0])


@pytest.mark.parametrize("task", [ToyTask, DROPOUT], ids=["mlp", "dropout"])
def test_equal_seeds_give_equal_runs_and_pickles_go_on(task: Any) -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    action = np.full((2, 2), 0.3, np.float32)

    def run(envs: Any, steps: int) -> list[Any]:
        return [envs.step(action)[:2] for _ in range(steps)]

    def build() -> LayerwiseLRVectorEnv:
        envs = LayerwiseLRVectorEnv(2, task, num_decisions=8)
        envs.reset(seed=3)
        return envs

    first = build()
    begun = run(first, 5)
    copy = pickle.loads(pickle.dumps(first))  # noqa: S301
    after = run(first, 6)
    first.reset(seed=3)
    for other in (run(build(), 11), run(first, 11), begun + run(copy, 6)):
        for (obs, reward), (own_obs, own_reward) in zip(other, begun + after, strict=True):
            np.testing.assert_array_equal(obs, own_obs)
            np.testing.assert_array_equal(reward, own_reward)
    assert torch.equal(torch_before, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_what_was_returned_is_the_callers() -> None:
    envs = LayerwiseLRVectorEnv(2, "toy")
    observations, infos = envs.reset(seed=0)
    kept = observations.copy()
    for array in (observations, *infos.values()):
        array[:] = 0
    masked, infos = envs.reset(seed=5, options={"reset_mask": np.array([True, False])})
    np.testing.assert_array_equal(masked[1], kept[1])
    again, fresh = envs.reset(options={"reset_mask": np.array([True, False])})
    assert fresh["base_lr"][0] == pytest.approx(1e-3)
    np.testing.assert_array_equal(again[1], kept[1])


def test_episode_statistics_are_recorded() -> None:
    envs = RecordEpisodeStatistics(LayerwiseLRVectorEnv(2, **SHORT))
    envs.reset(seed=0)
    rewards = []
    for _ in range(5):
        _, reward, _, _, infos = envs.step(np.zeros((2, 2), np.float32))
        rewards.append(reward)
    np.testing.assert_allclose(infos["episode"]["r"], np.sum(rewards, 0))
    assert infos["episode"]["l"].tolist() == [5, 5]
    mask = {"reset_mask": np.array([True, False])}
    envs.step(np.zeros((2, 2), np.float32))
    envs.reset(options=mask)
    assert envs.episode_lengths.tolist() == [0, 1]
