"""Stable-Baselines3 on slots: its own loop, and what it learned as a frozen policy."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO

import lr_env  # noqa: F401 - registers the ids
from agents.export import freeze
from agents.vec_env import VectorEnvForSB3
from lr_env.action import Envelope
from lr_env.errors import InvalidArgumentError, PolicyError
from lr_env.policy import FrozenPolicy
from lr_env.slot_view import SlotVectorEnv

ENVELOPE = Envelope(z_max=10.0, max_step=2.0, z_init="zero")
TANH = {"activation_fn": torch.nn.Tanh, "net_arch": [8]}


def slots(kind: str = "LayerwiseLR", **arguments: object) -> SlotVectorEnv:
    given = {"task": "toy", "num_decisions": 4, **arguments}
    return SlotVectorEnv(gymnasium.make_vec(f"lr_env/{kind}-v0", num_envs=3, **given))


def ppo(**policy: object) -> PPO:
    arguments = {"n_steps": 8, "batch_size": 16, "n_epochs": 1, "seed": 42, "device": "cpu"}
    return PPO("MlpPolicy", VectorEnvForSB3(slots()), policy_kwargs={**TANH, **policy}, **arguments)


@pytest.mark.usefixtures("seeded_globally")
def test_what_ppo_learns_on_slots_is_a_frozen_policy(tmp_path: Path) -> None:
    model = ppo()
    before = {name: own.clone() for name, own in model.policy.state_dict().items()}
    model.learn(48)
    after = model.policy.state_dict()
    assert any(not torch.equal(own, before[name]) for name, own in after.items())
    freeze(model, "mine", ENVELOPE, {"trained": "on toys"}).save(tmp_path / "mine")
    policy = FrozenPolicy.load(tmp_path / "mine")
    assert policy.card["trained"] == "on toys"
    observation = slots().reset(seed=1)[0]
    theirs, _ = model.predict(observation, deterministic=True)
    assert np.allclose(policy.act(observation), theirs[:, 0], atol=1e-5)


@pytest.mark.usefixtures("seeded_globally")
def test_equal_seeds_are_equal_runs() -> None:
    runs = [ppo().learn(24).policy.state_dict() for _ in range(2)]
    assert all(torch.equal(own, runs[1][name]) for name, own in runs[0].items())


@pytest.mark.usefixtures("seeded_globally")
def test_dqn_on_discrete_slots() -> None:
    env = VectorEnvForSB3(slots("LayerwiseLRDiscrete"))
    model = DQN(
        "MlpPolicy", env, policy_kwargs=TANH, buffer_size=200, learning_starts=6, seed=42,
        device="cpu",
    )  # fmt: skip
    model.learn(60)
    assert freeze(model, "mine", ENVELOPE).discrete


def test_it_steps_as_the_environment_itself_and_hands_on_what_was_last_seen() -> None:
    theirs, ours = slots(), VectorEnvForSB3(slots())
    ours.seed(5)
    assert np.array_equal(ours.reset(), theirs.reset(seed=5)[0])
    actions = np.zeros((theirs.num_envs, 1), dtype=np.float32)
    for decision in range(4):
        observations, rewards, terminated, _, infos = theirs.step(actions)
        got = ours.step(actions)
        assert np.array_equal(got[0], observations)
        assert np.allclose(got[1], rewards)
        assert got[2].all() == terminated.all() == (decision == 3)
    last = [own["terminal_observation"] for own in got[3]]
    assert np.array_equal(np.stack(last), np.stack(infos["final_obs"]))
    assert not any(own["TimeLimit.truncated"] for own in got[3])


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(InvalidArgumentError, match="SameStep"):
        VectorEnvForSB3(slots(autoreset_mode="NextStep"))
    with pytest.raises(PolicyError, match="perceptrons with tanh"):
        freeze(ppo(activation_fn=torch.nn.ReLU), "mine", ENVELOPE)
