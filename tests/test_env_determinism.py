"""Same seed, same episode, to the last bit; and the global generators are left alone."""

import copy
import pickle
import random

import numpy as np
import pytest
import torch

from lr_env.env import LayerwiseLREnv

ARCHITECTURES = ["mlp", "layernorm", "batchnorm", "dropout"]


def make_env(architecture: str = "mlp", **arguments) -> LayerwiseLREnv:
    chosen = {"num_decisions": 50, "steps_per_action": 2, "base_lr": (1e-4, 1e-1), **arguments}
    return LayerwiseLREnv("toy", task_arguments={"architecture": architecture}, **chosen)


def follow(env: LayerwiseLREnv, actions: np.ndarray) -> list[tuple]:
    trace = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        trace.append(
            (observation.tobytes(), reward, terminated, truncated,
             info["train_loss"], info["validation_loss"], info["learning_rates"].tobytes())
        )  # fmt: skip
        if terminated:
            break
    return trace


def some_actions(env: LayerwiseLREnv, count: int) -> np.ndarray:
    shape = (count, len(env.layer_names))
    return np.random.default_rng(5).uniform(-0.5, 0.5, shape).astype(np.float32)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fifty_steps_are_reproducible_from_a_seed(architecture: str) -> None:
    traces = []
    for _ in range(2):
        env = make_env(architecture)
        first, _ = env.reset(seed=11)
        traces.append([first.tobytes(), *follow(env, some_actions(env, 50))])
    assert len(traces[0]) == 51
    assert traces[0] == traces[1]


def test_seeds_and_later_episodes_differ() -> None:
    env = make_env()
    first = env.reset(seed=1)[0]
    again = env.reset()[0]
    other = env.reset(seed=2)[0]
    assert not np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(first, env.reset(seed=1)[0])
    assert np.array_equal(again, env.reset()[0])


def global_states() -> tuple:
    numpy_state = np.random.get_state()  # noqa: NPY002 - the global state is the subject
    return random.getstate(), numpy_state[1].tobytes(), torch.get_rng_state().numpy().tobytes()


def test_global_generators_are_neither_read_nor_moved() -> None:
    def episode() -> list[tuple]:
        env = make_env("dropout", num_decisions=5, render_mode="rgb_array")
        env.reset(seed=7)
        trace = follow(env, some_actions(env, 5))
        env.render()
        return trace

    torch.manual_seed(0)
    before = global_states()
    first = episode()
    assert global_states() == before
    torch.manual_seed(123)
    assert episode() == first


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_copy_in_mid_episode_goes_on_identically(architecture: str, how: str) -> None:
    env = make_env(architecture, num_decisions=20)
    env.reset(seed=4)
    actions = some_actions(env, 20)
    follow(env, actions[:9])
    twin = pickle.loads(pickle.dumps(env)) if how == "pickle" else copy.deepcopy(env)  # noqa: S301
    assert follow(twin, actions[9:]) == follow(env, actions[9:])
    assert np.array_equal(twin.reset()[0], env.reset()[0])
