"""Exploration for slots: random numbers that the layers of a training can share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn


class SharedNoisePolicy(ActorCriticPolicy):
    """SB3's actor-critic with one random number for each group of slots.

    The head starts at zero, so that the untrained policy changes nothing.
    """

    def __init__(
        self, *args: Any, groups: NDArray[np.int64], noise_seed: int, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.set_groups(groups)
        self.noise = torch.Generator().manual_seed(noise_seed)
        for parameter in self.action_net.parameters():
            nn.init.zeros_(parameter)

    def set_groups(self, groups: NDArray[np.int64]) -> None:
        """Say which slots explore together: equal numbers, equal random numbers."""
        self.groups = torch.from_numpy(groups)

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Return actions, values and log-probabilities; each slot's own, as if alone."""
        if deterministic or len(obs) != len(self.groups):
            return super().forward(obs, deterministic)
        latent_actor, latent_critic = self.mlp_extractor(self.extract_features(obs))
        mean, deviation = self.action_net(latent_actor), self.log_std.exp()
        count = int(self.groups.max()) + 1
        noise = torch.randn(count, mean.shape[1], generator=self.noise)[self.groups]
        actions = mean + deviation * noise
        distribution = self._get_action_dist_from_latent(latent_actor)
        return actions, self.value_net(latent_critic), distribution.log_prob(actions)


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
