"""Exploration for slots: random numbers that the layers of a training can share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn


class SharedNoisePolicy(ActorCriticPolicy):
    """SB3's actor-critic with one random number for each group of slots, which outlasts a decision.

    The head starts at zero, so that the untrained policy changes nothing. White noise of so small
    a deviation averages out before a loss shows what it did; with a memory it tries out a higher
    or a lower rate for a while (coloured noise, Eberhard et al. 2023; Hollenstein et al. 2024).
    Each decision's own distribution is the policy's.
    """

    def __init__(
        self, *args: Any, groups: NDArray[np.int64], noise_seed: int, noise_memory: float,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(*args, **kwargs)
        self.noise_memory = noise_memory
        self.set_groups(groups)
        self.noise = torch.Generator().manual_seed(noise_seed)
        for parameter in self.action_net.parameters():
            nn.init.zeros_(parameter)

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

    def _next_noise(self, width: int) -> Tensor:
        """Return standard normal numbers `[groups, width]`, correlated with the last ones."""
        fresh = torch.randn(int(self.groups.max()) + 1, width, generator=self.noise)
        if len(self.last_noise):
            memory = self.noise_memory
            fresh = memory * self.last_noise + math.sqrt(1.0 - memory**2) * fresh
        self.last_noise = fresh
        return fresh


class SlotDQN(DQN):
    """SB3's DQN with an epsilon coin for each group of slots, not one for all of them."""

    def set_groups(self, groups: NDArray[np.int64], seed: int) -> None:
        """Say which slots explore together, and seed their coins."""
        self.groups = groups
        self.coins = np.random.default_rng(seed)

    def predict(
        self,
        observation: NDArray[np.float32] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Return greedy actions, random ones in the groups whose coin says so."""
        actions, state = self.policy.predict(observation, state, episode_start, deterministic=True)
        if deterministic or len(actions) != len(self.groups):
            return actions, state
        count = int(self.groups.max()) + 1
        explores = self.coins.random(count) < self.exploration_rate
        choice = self.coins.integers(int(self.action_space.n), size=count)  # type: ignore[attr-defined]
        return np.where(explores[self.groups], choice[self.groups], actions), state
