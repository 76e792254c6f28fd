"""Checkpoints of a meta-training: what does not fit is refused in one sentence."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.algorithms import build_algorithm
from agents.checkpoint import load_checkpoint, save_checkpoint
from agents.config import PPOConfig, TrainConfig
from agents.curriculum import plan_stacks
from agents.renewal import Renewal
from agents.slots import SlotVecEnv
from agents.workers import Workers
from lr_env.errors import LrEnvError
from tests.inline import InlineProcesses
from tests.test_env_arguments import assert_one_sentence

EXTRA = {"seconds": 3.0}


@pytest.fixture(scope="module")
def agent() -> Iterator[tuple[BaseAlgorithm, SlotVecEnv, Renewal]]:
    config = TrainConfig(stacks=1, slots=6, hidden=(4,), ppo=PPOConfig(n_steps=2, minibatches=2))
    plans = plan_stacks(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.workers.Processes", InlineProcesses)
        env = SlotVecEnv(Workers(plans, 1), plans, discrete=False)
    try:
        model = build_algorithm(config, env)
        model._last_obs = env.reset()
        model._last_episode_starts = np.ones(env.num_envs, dtype=bool)
        yield model, env, Renewal(config, env, model)
    finally:
        env.close()


def _without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state.pop(name)


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no counters": _without("counters"),
    "no record of the run": lambda state: state["extra"].clear(),
    "a list in place of a tensor": lambda state: state.update(last_observation=[1.0]),
    "nothing in place of the stacks": lambda state: state.update(env=None),
    "fewer stacks": lambda state: state["env"]["stacks"].pop(),
    "a stack that remembers more": lambda state: state["env"]["stacks"][0]["memory"].update(
        more=torch.ones(1)
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_checkpoint_of_another_layout_is_one_sentence(
    change: Callable[[dict[str, Any]], Any],
    agent: tuple[BaseAlgorithm, SlotVecEnv, Renewal],
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, *agent, EXTRA)
    restored = []

    def restore(extra: dict[str, Any]) -> None:
        restored.append(extra["seconds"])

    load_checkpoint(path, *agent, restore)
    assert restored == [3.0]
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    with pytest.raises(LrEnvError, match="Cannot resume from") as caught:
        load_checkpoint(path, *agent, restore)
    assert_one_sentence(caught.value)
    assert "begin a new run" in str(caught.value)
