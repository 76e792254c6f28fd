"""The environment passes the checkers of Gymnasium and of Stable-Baselines3."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import lr_env  # noqa: F401 - registers the ids
from lr_env.observation import BOUND, FEATURES
from lr_env.registration import ENV_IDS, register_envs

EXPECTED_WARNING = "unconventional shape"
SMALL = {"task": "toy", "num_decisions": 6, "steps_per_action": 2}


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.parametrize("z_init", ["zero", "cautious", "calibrated", "matched"])
def test_checkers_find_nothing_but_the_two_dimensional_observation(
    env_id: str, z_init: str
) -> None:
    for checker in (gymnasium_check, sb3_check):
        env = gymnasium.make(env_id, z_init=z_init, render_mode="rgb_array", **SMALL).unwrapped
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # The collector may choose this moment to close files of earlier tests.
            warnings.simplefilter("ignore", ResourceWarning)
            checker(env)
        unexpected = [w for w in map(str, (c.message for c in caught)) if EXPECTED_WARNING not in w]
        assert unexpected == []


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_spaces_hold_what_is_returned(env_id: str) -> None:
    env = gymnasium.make(env_id, **SMALL)
    observation, _ = env.reset(seed=3)
    env.action_space.seed(3)
    terminated = False
    while not terminated:
        assert env.observation_space.contains(observation)
        observation, _, terminated, _, info = env.step(env.action_space.sample())
    assert env.observation_space.shape == (2, len(FEATURES))
    assert np.abs(observation).max() <= BOUND
    assert info["learning_rates"].shape == (2,)


def test_ids_are_registered_once_and_found_through_the_module_prefix() -> None:
    before = dict(gymnasium.registry)
    register_envs()
    assert gymnasium.registry == before
    env = gymnasium.make("lr_env:lr_env/LayerwiseLR-v0", **SMALL)
    assert isinstance(env.action_space, gymnasium.spaces.Box)
    discrete = gymnasium.make("lr_env/LayerwiseLRDiscrete-v0", **SMALL)
    assert isinstance(discrete.action_space, gymnasium.spaces.MultiDiscrete)


def test_make_vec_runs_several_at_once() -> None:
    envs = gymnasium.make_vec(
        "lr_env/LayerwiseLR-v0", num_envs=2, vectorization_mode="sync", **SMALL
    )
    observations, _ = envs.reset(seed=1)
    assert observations.shape == (2, 2, len(FEATURES))
    single = gymnasium.make("lr_env/LayerwiseLR-v0", **SMALL)
    np.testing.assert_array_equal(observations[1], single.reset(seed=2)[0])
