"""Exploration: layers that share a random number, noise that outlasts a decision."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN

from agents import plateau
from agents.exploration import UNCHANGED, CautiousDQNPolicy, SharedNoisePolicy, SlotDQN
from agents.slots import noise_groups
from lr_env.action import DISCRETE_ACTIONS
from lr_env.errors import InvalidArgumentError
from lr_env.observation import FEATURES
from lr_env.randomness import torch_generator


def test_half_of_the_trainings_share_one_number_among_their_layers() -> None:
    trainings = np.repeat(np.arange(64), 5)
    groups = noise_groups(trainings, 0.5)
    sizes = [len(np.unique(groups[trainings == training])) for training in range(64)]
    assert set(sizes) == {1, 5}
    assert 28 <= sizes.count(1) <= 36
    assert len(np.unique(groups)) == groups.max() + 1


def test_no_number_is_shared_between_trainings() -> None:
    trainings = np.repeat(np.arange(20), 3)
    for shared in (0.0, 0.5, 1.0):
        groups = noise_groups(trainings, shared)
        for group in np.unique(groups):
            assert len(np.unique(trainings[groups == group])) == 1
    assert len(np.unique(noise_groups(trainings, 0.0))) == 60
    assert len(np.unique(noise_groups(trainings, 1.0))) == 20


def actor(slots: int, memory: float) -> SharedNoisePolicy:
    return SharedNoisePolicy(
        spaces.Box(-5, 5, (3,)), spaces.Box(-1, 1, (1,)), lambda _: 1e-3, log_std_init=-1.0,
        groups=np.arange(slots), noise_seed=1, noise_memory=memory,
    )  # fmt: skip


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_noise_outlasts_a_decision_and_keeps_its_deviation(memory: float) -> None:
    slots, decisions = 400, 60
    policy = actor(slots, memory)
    with torch.no_grad():
        actions = torch.stack([policy(torch.zeros(slots, 3))[0] for _ in range(decisions)])
    assert float(actions.std()) == pytest.approx(np.exp(-1.0), rel=0.05)
    now, then = actions[1:].flatten(), actions[:-1].flatten()
    assert float(torch.corrcoef(torch.stack([now, then]))[0, 1]) == pytest.approx(memory, abs=0.03)


def test_what_stands_for_entropy_is_the_distance_from_doing_nothing() -> None:
    policy, actions = actor(2, 0.0), torch.zeros(2, 1)
    with torch.no_grad():
        untrained = policy.evaluate_actions(torch.ones(2, 3), actions)[2]
        policy.action_net.bias.fill_(0.3)
        policy.log_std.add_(0.5)
        values, log_probabilities, own = policy.evaluate_actions(torch.ones(2, 3), actions)
    assert untrained is not None
    assert own is not None
    assert untrained.tolist() == [0.0, 0.0]
    deviation = np.exp(-1.0)
    # KL(N(m, s) | N(0, s0)) = log(s0 / s) + (s^2 + m^2) / (2 s0^2) - 1 / 2.
    expected = -0.5 + (np.exp(-0.5) ** 2 + 0.3**2) / (2 * deviation**2) - 0.5
    assert own.tolist() == pytest.approx([-expected] * 2, rel=1e-5)
    assert values.shape == (2, 1)
    assert log_probabilities.tolist() == pytest.approx(
        [-0.5 * np.log(2 * np.pi) + 0.5 - 0.3**2 / (2 * np.exp(-1.0))] * 2, rel=1e-5
    )


def test_untrained_agent_lowers_rates_where_the_validation_loss_has_stopped_falling() -> None:
    """After a tenth of the training without a new best; without a validation loss never."""
    policy = SharedNoisePolicy(
        spaces.Box(-5, 5, (len(FEATURES),)), spaces.Box(-1, 1, (1,)), lambda _: 1e-3,
        groups=np.arange(6), noise_seed=1, noise_memory=0.0, plateau_step=0.3,
        net_arch=[16, 8, 8], activation_fn=torch.nn.Tanh,
    )  # fmt: skip
    rows = 4.0 * torch.rand(6, len(FEATURES), generator=torch_generator(0, "rows")) - 2.0
    rows[:, FEATURES.index("validation_age")] = torch.tensor([0.0, 0.2, 0.5, 0.8, 2.0, 4.5])
    with torch.no_grad():
        actions = policy(rows, deterministic=True)[0].flatten()
        policy.action_net.bias.add_(0.1)
        distance = policy.evaluate_actions(rows, torch.zeros(6, 1))[2]
    assert actions.tolist() == pytest.approx([0.0, 0.0, -0.15, -0.3, -0.3, -0.3], abs=2e-3)
    assert distance is not None
    # From the rule and not from doing nothing: the same everywhere.
    assert distance.tolist() == pytest.approx([-(0.1**2) / 2] * 6, rel=1e-4)


def test_a_policy_without_hidden_layers_cannot_begin_with_the_rule() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(len(FEATURES), 1))
    plateau.begin(network, 0.0)
    with pytest.raises(InvalidArgumentError, match="hidden layer"):
        plateau.begin(network, 0.3)


class Slots(gym.Env[np.ndarray, int]):
    observation_space = spaces.Box(-5, 5, (3,), np.float32)
    action_space = spaces.Discrete(len(DISCRETE_ACTIONS))


def explorer(groups: int, hold: int) -> SlotDQN:
    model = SlotDQN("MlpPolicy", Slots(), buffer_size=10, device="cpu", seed=1)
    model.exploration_rate = 0.1
    model.begin(np.repeat(np.arange(groups), 2), seed=3, hold=hold)
    return model


@pytest.mark.parametrize("hold", [1, 10])
def test_epsilon_is_the_share_of_random_actions_however_long_they_are_held(hold: int) -> None:
    groups, decisions = 2000, 200
    model = explorer(groups, hold)
    rows = np.ones((2 * groups, 3), dtype=np.float32)
    drawn = np.stack([model.predict(rows)[0] for _ in range(decisions)])
    assert np.array_equal(drawn[:, ::2], drawn[:, 1::2])
    # The untrained agent takes the action that changes nothing; one draw of five is that, too.
    away = drawn[decisions // 4 :, ::2] != UNCHANGED
    assert away.mean() == pytest.approx(0.1 * 4 / 5, rel=0.08)
    lasting = (away[1:] & away[:-1]).sum() / away[:-1].sum()
    assert lasting == pytest.approx(0.9 if hold == 10 else 0.08, abs=0.02)


def test_an_untrained_dqn_changes_nothing() -> None:
    rows = np.random.default_rng(0).uniform(-5, 5, (50, 3)).astype(np.float32)
    actions, _ = explorer(25, 10).predict(rows, deterministic=True)
    assert set(actions.tolist()) == {UNCHANGED}


def test_an_action_has_to_promise_more_than_the_margin() -> None:
    model = DQN(CautiousDQNPolicy, Slots(), policy_kwargs={"margin": 0.05}, device="cpu", seed=1)
    rows = np.zeros((2, 3), dtype=np.float32)
    head = list(model.policy.q_net.modules())[-1]
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0, 0.04, 0.0, 0.0, 0.0]))
        assert model.predict(rows, deterministic=True)[0].tolist() == [UNCHANGED] * 2
        head.bias[1] = 0.06
        assert model.predict(rows, deterministic=True)[0].tolist() == [1, 1]
