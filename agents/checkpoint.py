"""Checkpoints from which meta-training goes on exactly: agent, stacks, buffers, generators."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.exploration import SharedNoisePolicy, SlotDQN
from agents.renewal import Renewal
from agents.slots import SlotVecEnv
from agents.workers import UNFIT
from lr_env import files
from lr_env.errors import LrEnvError

_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")
_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def save_checkpoint(
    path: Path, model: BaseAlgorithm, env: SlotVecEnv, renewal: Renewal, extra: dict[str, Any]
) -> None:
    """Write the state between two rollouts; the file before stays whole until this one is."""
    state = {
        "counters": {name: getattr(model, name) for name in _COUNTERS},
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "last_observation": torch.from_numpy(np.array(model._last_obs)),
        "last_starts": torch.from_numpy(np.array(model._last_episode_starts)),
        "algorithm": _ppo_state(model) if isinstance(model, PPO) else _dqn_state(model),
        "random": _random_state(),
        "generations": list(renewal.generations),
        "env": env.state_dict(),
        "extra": extra,
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    files.write_bytes(path, buffer.getvalue())


def load_checkpoint(
    path: Path,
    model: BaseAlgorithm,
    env: SlotVecEnv,
    renewal: Renewal,
    restore: Callable[[dict[str, Any]], None],
) -> None:
    """Put `model`, its stacks and `env` where the checkpoint was taken; hand on its `extra`.

    Raises:
        LrEnvError: the file cannot be read, or is of another run or layout.
    """
    state = files.read_tensors(path, "begin a new run.")
    try:
        renewal.restore(state["generations"])
        for name, value in state["counters"].items():
            setattr(model, name, value)
        model.policy.load_state_dict(state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
        model._last_obs = state["last_observation"].numpy()
        model._last_episode_starts = state["last_starts"].numpy()
        (_load_ppo if isinstance(model, PPO) else _load_dqn)(model, state["algorithm"])
        env.load_state_dict(state["env"])
        _load_random_state(state["random"])
        restore(state["extra"])
    except UNFIT as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".:")
        raise LrEnvError(f"Cannot resume from {path}: {reason}; begin a new run.") from error


def _ppo_state(model: PPO) -> dict[str, Any]:
    policy = model.policy
    if not isinstance(policy, SharedNoisePolicy):
        raise TypeError("PPO on slots explores with SharedNoisePolicy.")
    return {
        "noise": policy.noise.get_state(),
        "last_noise": policy.last_noise,
        "held_to": policy.held_to.state_dict(),
    }


def _load_ppo(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    if isinstance(model.policy, SharedNoisePolicy):
        model.policy.noise.set_state(state["noise"])
        model.policy.last_noise = state["last_noise"]
        model.policy.held_to.load_state_dict(state["held_to"])


def _dqn_state(model: BaseAlgorithm) -> dict[str, Any]:
    if not isinstance(model, SlotDQN) or model.replay_buffer is None:
        raise TypeError("DQN on slots is SlotDQN.")
    replay = model.replay_buffer
    filled = replay.buffer_size if replay.full else replay.pos
    return {
        "coins": model.coins.bit_generator.state,
        "held": torch.from_numpy(np.stack([model.left, model.held])),
        "calls": model._n_calls,
        "position": replay.pos,
        "full": replay.full,
        "replay": {
            name: torch.from_numpy(getattr(replay, name)[:filled].copy()) for name in _REPLAY
        },
    }


def _load_dqn(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    if not isinstance(model, SlotDQN) or model.replay_buffer is None:
        return
    model.coins.bit_generator.state = state["coins"]
    model.left, model.held = state["held"].numpy()
    model._n_calls = state["calls"]
    replay = model.replay_buffer
    replay.pos, replay.full = state["position"], state["full"]
    for name, kept in state["replay"].items():
        getattr(replay, name)[: len(kept)] = kept.numpy()


def _random_state() -> dict[str, Any]:
    """SB3 draws mini-batches from the global generators: these are this process's own."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    if not isinstance(state, dict):
        raise TypeError("NumPy's global generator is not the legacy Mersenne twister.")
    keys = torch.from_numpy(state["state"]["key"].astype(np.int64))
    version, words, gauss = random.getstate()
    return {
        "numpy": {**state, "state": {"key": keys, "pos": state["state"]["pos"]}},
        "python": [version, list(words), gauss],
        "torch": torch.get_rng_state(),
    }


def _load_random_state(state: dict[str, Any]) -> None:
    twister = dict(state["numpy"])
    keys = twister["state"]["key"].numpy().astype(np.uint32)
    twister["state"] = {"key": keys, "pos": twister["state"]["pos"]}
    np.random.set_state(twister)  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(state["torch"])
