"""The adapter for Stable-Baselines3 shows what the library's own slot view shows."""

from typing import Any

import numpy as np
import pytest

from agents.curriculum import StackPlan
from agents.slots import SlotVecEnv
from agents.workers import Workers
from lr_env.action import Envelope
from lr_env.scoring import Entry
from lr_env.slot_view import SlotVectorEnv
from lr_env.stack import StackSettings
from lr_env.tasks.family import family_spec
from lr_env.vector_env import LayerwiseLRVectorEnv
from tests.toys import ToyTask

LANES, LAYERS, SEED = 4, 2, 5
# Some trainings diverge from such rates and some do not: they end apart.
SAME: dict[str, Any] = {
    "optimizer": "sgd", "base_lr": (1e-2, 1e6), "total_steps": 24, "steps_per_action": 3,
}  # fmt: skip


@pytest.fixture(params=[False, True], ids=["box", "discrete"])
def pair(request: pytest.FixtureRequest, inline: None) -> tuple[SlotVecEnv, SlotVectorEnv]:
    """The adapter and the slot view, over equal trainings."""
    settings = StackSettings(envelope=Envelope(z_init="zero"), **SAME)
    plan = StackPlan(Entry("toy", ToyTask, settings, LANES), SEED, family_spec(0, 0))
    workers = Workers([plan], 1)
    envs = LayerwiseLRVectorEnv(LANES, ToyTask, discrete=request.param, **SAME)
    yield SlotVecEnv(workers, [plan], request.param), SlotVectorEnv(envs)
    workers.close()


def test_slots_are_those_of_the_slot_view(pair: tuple[SlotVecEnv, SlotVectorEnv]) -> None:
    ours, theirs = pair
    assert ours.num_envs == theirs.num_envs == LANES * LAYERS
    assert ours.observation_space == theirs.single_observation_space
    assert ours.action_space == theirs.single_action_space
    np.testing.assert_array_equal(ours.reset(), theirs.reset(seed=SEED)[0])
    theirs.action_space.seed(0)
    returns, lengths = np.zeros(ours.num_envs), np.zeros(ours.num_envs, dtype=int)
    ended = np.zeros(LANES, dtype=int)
    together = []
    for _ in range(22):
        action = theirs.action_space.sample()
        observation, rewards, dones, infos = ours.step(action)
        expected = theirs.step(action)
        np.testing.assert_array_equal(observation, expected[0])
        np.testing.assert_array_equal(rewards, expected[1].astype(np.float32))
        np.testing.assert_array_equal(dones, expected[2])
        assert (rewards.dtype, dones.dtype) == (np.float32, np.bool_)
        by_training = rewards.reshape(LANES, LAYERS), dones.reshape(LANES, LAYERS)
        for rows in by_training:
            np.testing.assert_array_equal(rows, np.repeat(rows[:, :1], LAYERS, axis=1))
        returns, lengths = returns + expected[1], lengths + 1
        _check_infos(infos, dones, expected[4], returns, lengths)
        returns[dones], lengths[dones] = 0.0, 0
        ended += by_training[1][:, 0]
        together.append(int(by_training[1][:, 0].sum()))
    assert ended.min() > 0
    assert {1, 2} & set(together)  # lanes ended while others went on


def _check_infos(
    infos: list[dict[str, Any]],
    dones: np.ndarray,
    expected: dict[str, Any],
    returns: np.ndarray,
    lengths: np.ndarray,
) -> None:
    for slot, info in enumerate(infos):
        if not dones[slot]:
            assert info == {}
            continue
        np.testing.assert_array_equal(info["terminal_observation"], expected["final_obs"][slot])
        # Nothing is left to bootstrap from: what remains of the budget is observed.
        assert info["TimeLimit.truncated"] is False
        # One layer of a training tells of its episode, or deep networks would count more.
        assert ("episode" in info) == (slot % LAYERS == 0)
        if "episode" in info:
            assert info["episode"]["r"] == pytest.approx(returns[slot], abs=1e-9)
            assert info["episode"]["l"] == lengths[slot]


def _toy_slots(**given: Any) -> tuple[SlotVecEnv, Workers]:
    settings = StackSettings(envelope=Envelope(z_init="zero"), **SAME)
    plan = StackPlan(Entry("toy", ToyTask, settings, LANES), SEED, family_spec(0, 0), twins=2)
    workers = Workers([plan], 1)
    return SlotVecEnv(workers, [plan], discrete=False, **given), workers


@pytest.mark.usefixtures("inline")
def test_gains_are_of_the_whole_training_and_outlast_its_end_by_a_decision() -> None:
    env, workers = _toy_slots(gamma=0.9)
    env.reset()
    random, expected = np.random.default_rng(0), np.zeros(LANES)
    lengths, ended = np.zeros(LANES, dtype=int), np.zeros(LANES, dtype=bool)
    for _ in range(20):
        _, rewards, dones, _ = env.step(random.uniform(-1, 1, (env.num_envs, 1)))
        expected[ended], lengths[ended] = 0.0, 0
        expected += 0.9**lengths * rewards[::LAYERS]
        lengths, ended = lengths + 1, dones[::LAYERS]
        assert env.slot_gains() == pytest.approx(np.repeat(expected, LAYERS), abs=1e-5)
    assert env.episodes.sum() > LANES
    workers.close()


@pytest.mark.usefixtures("inline")
def test_relative_rewards_are_above_those_of_the_twin() -> None:
    (plain, one), (relative, other) = _toy_slots(), _toy_slots(relative=True)
    plain.reset()
    relative.reset()
    alone = 0
    # One of a pair goes up and diverges where its twin, which comes down, may not.
    action = np.repeat([1.0, -1.0, 1.0, -1.0], LAYERS)[:, None]
    for _ in range(60):
        numbers = plain.twins()
        together = np.bincount(numbers)[numbers] == 2
        own, gained = plain.step(action)[1], relative.step(action)[1]
        pairs = own[::LAYERS].reshape(-1, 2)
        above = np.repeat((pairs - pairs[:, ::-1]).reshape(-1), LAYERS)
        assert gained[together] == pytest.approx(above[together], abs=1e-6)
        assert (gained[~together] == 0.0).all()
        alone += int((~together).sum())
    assert alone > 0
    for workers in (one, other):
        workers.close()
