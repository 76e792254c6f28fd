"""The agent's weights averaged over its last updates: what is scored and shipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from agents.config import TrainConfig


class WeightAverage:
    """An exponential moving average of the weights (Polyak and Juditsky 1992, averaged iterates).

    A single iterate of PPO or DQN owes much to its last few mini-batches; the agent explores and
    learns with its own weights, the average is what is frozen.

    Args:
        decay: share of the average that an update keeps; 0 leaves the last weights alone. It
            grows up to that, so that the first weights are soon forgotten.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._updates = 0
        self._weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, model: BaseAlgorithm) -> None:
        """Take in the agent's weights as they are now."""
        keep = min(self._decay, self._updates / (self._updates + 4.0))
        self._updates += 1
        for name, value in model.policy.state_dict().items():
            kept = self._weights.get(name)
            if kept is None or not value.is_floating_point():
                self._weights[name] = value.detach().clone()
            else:
                kept.lerp_(value, 1.0 - keep)

    @contextmanager
    def applied(self, model: BaseAlgorithm) -> Iterator[None]:
        """Lend the average to the agent; on leaving, its own weights are back, bit for bit."""
        if not self._weights:
            yield
            return
        own = {name: value.clone() for name, value in model.policy.state_dict().items()}
        model.policy.load_state_dict(self._weights)
        try:
            yield
        finally:
            model.policy.load_state_dict(own)

    def state_dict(self) -> dict[str, object]:
        """Return what a checkpoint keeps."""
        return {"updates": self._updates, "weights": dict(self._weights)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from a checkpoint."""
        updates, weights = state["updates"], state["weights"]
        if not isinstance(updates, int) or not isinstance(weights, dict):
            raise ValueError("the average's state is damaged")
        self._updates, self._weights = updates, weights


def rollouts_per_update(config: TrainConfig) -> int:
    """Return how many of SB3's rollouts make up one step of the average.

    One of PPO's; as many decisions of DQN's, whose rollouts are one decision long.
    """
    return config.ppo.n_steps if config.algo == "dqn" else 1
