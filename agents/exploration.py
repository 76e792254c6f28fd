"""Exploration for slots: random numbers that the layers of a training can share."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from agents import plateau
from lr_env.action import DISCRETE_ACTIONS

UNCHANGED = DISCRETE_ACTIONS.index(0.0)
"""The discrete action that changes nothing."""
HEAD_START = 1e-3
"""What an untrained DQN takes the action that changes nothing to be better by."""


class SharedNoisePolicy(ActorCriticPolicy):
    """SB3's actor-critic with one random number for each group of slots, which outlasts a decision.

    The untrained policy changes nothing, but where a validation loss has stopped falling it lowers
    rates by `plateau_step` (agents/plateau.py). White noise of so small a deviation averages out
    before a loss shows what it did; with a memory it tries out a higher or a lower rate for a while
    (coloured noise, Eberhard et al. 2023; Hollenstein et al. 2024). Each decision's own
    distribution is the policy's.
    """

    def __init__(
        self, *args: Any, groups: NDArray[np.int64], noise_seed: int, noise_memory: float,
        plateau_step: float = 0.0, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(*args, **kwargs)
        self.noise_memory = noise_memory
        self._prior_deviation = self.log_std.detach().exp()
        self.set_groups(groups)
        self.noise = torch.Generator().manual_seed(noise_seed)
        plateau.begin(self.actor, plateau_step)
        self.hold_to_actor()

    @property
    def actor(self) -> nn.Sequential:
        """What maps features to the mean of actions; its layers are the policy's own."""
        return nn.Sequential(self.mlp_extractor.policy_net, self.action_net)

    def hold_to_actor(self) -> None:
        """Take the actor as it is now for what the agent is held to."""
        # In a tuple: it is no part of what is trained.
        self._held_to = (copy.deepcopy(self.actor).requires_grad_(False),)

    @property
    def held_to(self) -> nn.Sequential:
        """The actor that the agent is held to."""
        return self._held_to[0]

    def set_groups(self, groups: NDArray[np.int64]) -> None:
        """Say which slots explore together: equal numbers, equal random numbers.

        The noise begins anew: groups have other numbers now.
        """
        self.groups = torch.from_numpy(groups)
        self.last_noise = torch.empty(0)

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Return actions, values and log-probabilities; each slot's own, as if alone."""
        if deterministic or len(obs) != len(self.groups):
            return super().forward(obs, deterministic)
        latent_actor, latent_critic = self.mlp_extractor(self.extract_features(obs))
        mean, deviation = self.action_net(latent_actor), self.log_std.exp()
        actions = mean + deviation * self._next_noise(mean.shape[1])[self.groups]
        distribution = self._get_action_dist_from_latent(latent_actor)
        return actions, self.value_net(latent_critic), distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return values, log-probabilities and, in the place of entropies, their relative kind.

        That is minus the divergence from the policy that it began as, so that SB3's entropy bonus
        holds the agent to it (KL-regularised reinforcement learning, Galashov et al. 2019, eq. 1).
        """
        seen = self.extract_features(obs)
        latent_actor, latent_critic = self.mlp_extractor(seen)
        distribution = self._get_action_dist_from_latent(latent_actor)
        own = Normal(distribution.mode(), self.log_std.exp())
        prior = Normal(self.held_to(seen), self._prior_deviation)
        log_probabilities = distribution.log_prob(actions)
        return self.value_net(latent_critic), log_probabilities, -kl_divergence(own, prior).sum(-1)

    def _next_noise(self, width: int) -> Tensor:
        """Return standard normal numbers `[groups, width]`, correlated with the last ones."""
        fresh = torch.randn(int(self.groups.max()) + 1, width, generator=self.noise)
        if len(self.last_noise):
            memory = self.noise_memory
            fresh = memory * self.last_noise + math.sqrt(1.0 - memory**2) * fresh
        self.last_noise = fresh
        return fresh


class CautiousDQNPolicy(DQNPolicy):
    """SB3's greedy policy, which changes nothing unless that promises to be worse by `margin`.

    Its estimates differ from action to action by less than they err by, and the largest of five is
    the one that errs most in its own favour (van Hasselt et al. 2016, section 3).
    """

    def __init__(self, *args: Any, margin: float = 0.0, **kwargs: Any) -> None:
        self.margin = margin
        super().__init__(*args, **kwargs)

    def _predict(self, obs: PyTorchObs, deterministic: bool = True) -> Tensor:
        values = self.q_net(obs)
        values[:, UNCHANGED] += self.margin
        greedy: Tensor = values.argmax(dim=1)
        return greedy


class SlotDQN(DQN):
    """SB3's DQN with an epsilon coin for each group of slots, and random actions that are held.

    One step of a rate is taken back before a loss shows what it did, so that a random action goes
    on for `hold` decisions on average (temporally extended exploration, Dabney et al. 2021), and
    is begun so much less often: epsilon stays the share of random actions. Before it has learned
    anything the agent changes nothing.
    """

    def begin(self, groups: NDArray[np.int64], seed: int, hold: int) -> None:
        """Say which slots explore together, and seed their coins; make the greedy action zero."""
        count = int(groups.max()) + 1
        self.groups, self.hold = groups, hold
        self.coins = np.random.default_rng(seed)
        self.left, self.held = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        for network in (self.q_net, self.q_net_target):
            *_, head = (own for own in network.modules() if isinstance(own, nn.Linear))
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
            head.bias.data[UNCHANGED] = HEAD_START

    def predict(
        self,
        observation: NDArray[np.float32] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Return greedy actions, random ones in the groups that explore just now."""
        actions, state = self.policy.predict(observation, state, episode_start, deterministic=True)
        if deterministic or len(actions) != len(self.groups):
            return actions, state
        self._draw()
        explores = (self.left > 0)[self.groups]
        self.left = np.maximum(self.left - 1, 0)
        return np.where(explores, self.held[self.groups], actions), state

    def _draw(self) -> None:
        """Begin random actions, of geometric lengths, in some of the groups that have none."""
        count, epsilon = len(self.left), self.exploration_rate
        chance = epsilon / (epsilon + self.hold * (1.0 - epsilon))
        begins = (self.coins.random(count) < chance) & (self.left == 0)
        actions = self.coins.integers(len(DISCRETE_ACTIONS), size=count)
        lengths = self.coins.geometric(1.0 / self.hold, size=count)
        self.held = np.where(begins, actions, self.held)
        self.left = np.where(begins, lengths, self.left)
