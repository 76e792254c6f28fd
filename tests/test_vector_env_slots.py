"""The slot view: layers as environments of one shared policy."""

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from lr_env.errors import InvalidArgumentError
from lr_env.observation import FEATURES
from lr_env.slot_view import SlotVectorEnv
from lr_env.vector_env import LayerwiseLRVectorEnv
from tests.test_env_arguments import assert_one_sentence

LANES, LAYERS = 3, 2


def build(**arguments: Any) -> tuple[LayerwiseLRVectorEnv, SlotVectorEnv]:
    """Return trainings, and the slots of other but equal ones."""
    arguments = {"num_decisions": 4, **arguments}
    ours, theirs = (LayerwiseLRVectorEnv(LANES, "toy", **arguments) for _ in range(2))
    return ours, SlotVectorEnv(theirs)


@pytest.mark.parametrize("discrete", [False, True])
def test_slots_are_the_layers_of_the_trainings(discrete: bool) -> None:
    envs, slots = build(discrete=discrete)
    assert slots.num_envs == LANES * LAYERS
    assert slots.single_observation_space.shape == (len(FEATURES),)
    wanted = spaces.Discrete(5) if discrete else spaces.Box(-1, 1, (1,))
    assert slots.single_action_space == wanted
    whole, _ = envs.reset(seed=5)
    observations, infos = slots.reset(seed=5)
    assert observations in slots.observation_space
    np.testing.assert_array_equal(observations, whole.reshape(-1, len(FEATURES)))
    slots.action_space.seed(0)
    for _ in range(4):
        action = slots.action_space.sample()
        results = envs.step(action.reshape(LANES, LAYERS))
        observations, rewards, terminations, truncations, infos = slots.step(action)
        np.testing.assert_array_equal(observations, results[0].reshape(-1, len(FEATURES)))
        np.testing.assert_array_equal(rewards, results[1].repeat(LAYERS))
        np.testing.assert_array_equal(terminations, results[2].repeat(LAYERS))
        np.testing.assert_array_equal(truncations, results[3].repeat(LAYERS))
        np.testing.assert_array_equal(infos["step"], results[4]["step"].repeat(LAYERS))
        rates = results[4]["learning_rates"].reshape(-1)
        np.testing.assert_array_equal(infos["learning_rates"], rates)
    assert terminations.all()
    last = np.stack(results[4]["final_obs"]).reshape(-1, len(FEATURES))
    np.testing.assert_array_equal(np.stack(infos["final_obs"]), last)
    assert infos["_final_obs"].all()
    losses = results[4]["final_info"]["train_loss"].repeat(LAYERS)
    np.testing.assert_array_equal(infos["final_info"]["train_loss"], losses)


def test_all_slots_of_a_training_are_reset_together() -> None:
    _, slots = build(autoreset_mode=AutoresetMode.DISABLED)
    assert slots.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    before, _ = slots.reset(seed=0)
    mask = np.repeat([True, False, True], LAYERS)
    after, infos = slots.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(before[~mask], after[~mask])
    assert (before[mask] != after[mask]).any()
    assert infos["_step"].tolist() == mask.tolist()
    mask[0] = False
    for wrong in (mask, mask[1:]):
        with pytest.raises(InvalidArgumentError, match=r"reset") as caught:
            slots.reset(options={"reset_mask": wrong})
        assert_one_sentence(caught.value)


def test_actions_of_another_shape_are_refused() -> None:
    _, slots = build()
    slots.reset(seed=0)
    with pytest.raises(InvalidArgumentError, match="shape") as caught:
        slots.step(np.zeros(LANES * LAYERS))
    assert_one_sentence(caught.value)


def test_wrappers_and_pickles() -> None:
    _, slots = build()
    envs = RecordEpisodeStatistics(pickle.loads(pickle.dumps(slots)))  # noqa: S301
    envs.reset(seed=1)
    total = 0.0
    for _ in range(4):
        _, rewards, _, _, infos = envs.step(np.zeros((LANES * LAYERS, 1), np.float32))
        total += rewards
    np.testing.assert_allclose(infos["episode"]["r"], total)
    assert infos["episode"]["l"].tolist() == [4] * LANES * LAYERS
    envs.close()
    assert slots.env.closed is False


def test_closing_the_view_closes_the_trainings() -> None:
    slots = SlotVectorEnv(gymnasium.make_vec("lr_env/LayerwiseLR-v0", num_envs=2, task="toy"))
    slots.close()
    assert slots.env.closed
