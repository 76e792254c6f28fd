"""What ends begins anew as the mode says, and only what the caller names is reset."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from lr_env.env import LayerwiseLREnv
from lr_env.vector_env import LayerwiseLRVectorEnv
from tests.toys import ToyTask

BATCHNORM = partial(ToyTask, architecture="batchnorm")
DROPOUT = partial(ToyTask, architecture="dropout")
SHORT: dict[str, Any] = {"task": "toy", "num_decisions": 5, "steps_per_action": 2}

# What a mode makes of the step at which lane 0 ends, and of the one after it.
MODES = {
    AutoresetMode.SAME_STEP: {"step at end": 0, "final": True, "after": (True, 1)},
    AutoresetMode.NEXT_STEP: {"step at end": 8, "final": False, "after": (False, 0)},
    AutoresetMode.DISABLED: {"step at end": 8, "final": False, "after": None},
}


@pytest.mark.parametrize(("mode", "expected"), MODES.items(), ids=lambda value: str(value)[:24])
def test_the_autoreset_table(mode: AutoresetMode, expected: dict[str, Any]) -> None:
    envs = LayerwiseLRVectorEnv(2, **SHORT, autoreset_mode=mode)
    assert envs.metadata["autoreset_mode"] is mode
    assert envs.metadata["render_modes"] == []
    idle = np.zeros(envs.action_space.shape, np.float32)
    envs.reset(seed=0)
    envs.step(idle)
    envs.reset(options={"reset_mask": np.array([False, True])})
    for _ in range(4):
        observations, rewards, terminations, _, infos = envs.step(idle)
    assert terminations.tolist() == [True, False]
    assert rewards[0] != 0
    assert infos["step"][0] == expected["step at end"]
    assert ("final_obs" in infos) == expected["final"]
    if expected["final"]:
        assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == [True, False]
        assert infos["final_obs"][1] is None
        assert infos["final_info"]["step"].tolist() == [8, 0]
        assert infos["final_info"]["_step"].tolist() == [True, False]
        assert not np.array_equal(infos["final_obs"][0], observations[0])
    if expected["after"] is None:
        with pytest.raises(gymnasium.error.ResetNeeded):
            envs.step(idle)
        envs.reset(options={"reset_mask": terminations})
        assert not envs.step(idle)[2][0]
        return
    moved, step = expected["after"]
    _, rewards, terminations, _, infos = envs.step(idle)
    assert infos["step"].tolist() == [step, 8 if mode is AutoresetMode.NEXT_STEP else 0]
    assert (rewards[0] != 0) == moved
    assert terminations.tolist() == [False, True]


def test_next_step_begins_while_the_other_lanes_train_on() -> None:
    modes = (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)
    same, following = (LayerwiseLRVectorEnv(2, **SHORT, autoreset_mode=mode) for mode in modes)
    idle = np.zeros(same.action_space.shape, np.float32)
    for envs in (same, following):
        envs.reset(seed=0)
        for _ in range(5):
            observations, _, terminations, _, infos = envs.step(idle)
        assert terminations.all()
        if envs is same:
            fresh, last = observations, infos["final_obs"]
    np.testing.assert_array_equal(observations, np.stack(last))
    observations, rewards, terminations, _, infos = following.step(idle + 0.5)
    np.testing.assert_array_equal(observations, fresh)
    assert not terminations.any()
    assert (rewards == 0).all()
    assert (infos["step"] == 0).all()


@pytest.mark.parametrize("task", [BATCHNORM, DROPOUT], ids=["batchnorm", "dropout"])
def test_a_masked_reset_leaves_the_other_lanes_bit_identical(task: Any) -> None:
    envs = LayerwiseLRVectorEnv(4, task, optimizer="adamw", observe_validation=True)
    envs.reset(seed=0)
    for _ in range(6):
        before, *_ = envs.step(np.full(envs.action_space.shape, 0.2, np.float32))
    mask = np.array([False, True, False, True])
    kept = _lanes_of(envs._stack.state_dict(), 4)
    observations, infos = envs.reset(seed=50, options={"reset_mask": mask})
    now = _lanes_of(envs._stack.state_dict(), 4)
    np.testing.assert_array_equal(observations[~mask], before[~mask])
    assert len(kept) > 25
    for name, value in kept.items():
        torch.testing.assert_close(now[name][~mask], value[~mask], rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(now["tensors.flat"][1], kept["tensors.flat"][1])
    assert infos["_step"].tolist() == mask.tolist()
    other = LayerwiseLREnv(BATCHNORM, optimizer="adamw", observe_validation=True)
    if task is BATCHNORM:
        np.testing.assert_allclose(observations[3], other.reset(seed=53)[0], atol=1e-4)


@pytest.mark.parametrize("architecture", ["mlp", "batchnorm"])
def test_other_lanes_go_on_bit_identically_after_a_masked_reset(architecture: str) -> None:
    """They do without dropout, whose masks come from one stream for all lanes."""
    task = partial(ToyTask, architecture=architecture)
    left, reset = (LayerwiseLRVectorEnv(4, task, observe_validation=True) for _ in range(2))
    mask = np.array([False, True, False, True])
    random = np.random.default_rng(0)
    for envs in (left, reset):
        envs.reset(seed=0)
    for turn in range(16):
        if turn == 6:
            reset.reset(seed=50, options={"reset_mask": mask})
        action = random.uniform(-1, 1, left.action_space.shape).astype(np.float32)
        ours, theirs = left.step(action), reset.step(action)
        for one, other in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(one[~mask], other[~mask])
        for name, value in ours[4].items():
            np.testing.assert_array_equal(value[~mask], theirs[4][name][~mask])
        assert (ours[4]["step"] != theirs[4]["step"])[mask].all() == (turn >= 6)
    states = [_lanes_of(envs._stack.state_dict(), 4) for envs in (left, reset)]
    for name, value in states[0].items():
        own = states[1][name][~mask]
        torch.testing.assert_close(own, value[~mask], rtol=0, atol=0, equal_nan=True)


def _lanes_of(state: dict[str, Any], lanes: int, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the tensors of a stack's state whose first dimension is that of the lanes."""
    found: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if isinstance(value, dict):
            found |= _lanes_of(value, lanes, f"{prefix}{name}.")
        elif isinstance(value, torch.Tensor) and value.ndim and len(value) == lanes:
            found[prefix + name] = value
    return found


def test_every_lane_can_have_its_own_seed() -> None:
    envs = LayerwiseLRVectorEnv(3, "toy", base_lr=(1e-5, 1e-1))
    first, infos = envs.reset(seed=[4, 9, 4])
    np.testing.assert_array_equal(first[0], first[2])
    assert infos["base_lr"][0] == infos["base_lr"][2] != infos["base_lr"][1]
    second, _ = envs.reset(seed=[None, 4, None])
    np.testing.assert_allclose(second[1], first[0], atol=1e-5)
    assert not np.array_equal(second[0], first[0])
    np.testing.assert_array_equal(second[0], second[2])
