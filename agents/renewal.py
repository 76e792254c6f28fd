"""Fresh architectures while the agent learns: stacks that give way to others of their kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.advantages import TwinRolloutBuffer
from agents.algorithms import minibatch_size
from agents.config import TrainConfig
from agents.curriculum import plan_stack
from agents.exploration import SharedNoisePolicy
from agents.slots import SlotVecEnv, exchanged, noise_groups

FINE_TUNING_EVERY = 3
"""Fine-tuning gives way in one round of three: its networks have to be pretrained first."""


class Renewal:
    """Replaces stacks in turn, between two rollouts of PPO; the others go on.

    A few architectures seen for long are learned by heart. Trainings that are cut off are not
    taken for ended: no action of theirs has an advantage.

    Args:
        config: of the run.
        env: the slots.
        model: that learns on them. DQN's replay has a fixed number of slots: it keeps its stacks.
    """

    def __init__(self, config: TrainConfig, env: SlotVecEnv, model: BaseAlgorithm) -> None:
        self._config, self._env, self._model = config, env, model
        self.generations = [0] * config.stacks
        """How often each place has changed hands."""

    def after(self, rollouts: int) -> None:
        """Replace the stacks whose turn it is after so many rollouts, if any."""
        every = self._config.renew_every
        if not isinstance(self._model, PPO) or not every or not rollouts or rollouts % every:
            return
        count = min(self._config.renewed, self._config.stacks)
        first = (rollouts // every - 1) * count
        for turn in range(first, first + count):
            cycle, index = divmod(turn, self._config.stacks)
            fine_tunes = plan_stack(self._config, index).fine_tunes
            if not fine_tunes or (cycle + index) % FINE_TUNING_EVERY == 0:
                self._replace(index, self.generations[index] + 1)

    def restore(self, generations: Sequence[int]) -> None:
        """Put the stacks in place that a checkpoint was taken with."""
        for index, generation in enumerate(generations):
            if generation != self.generations[index]:
                self._replace(index, generation)

    def _replace(self, index: int, generation: int) -> None:
        model, env = self._model, self._env
        if not isinstance(model, PPO) or not isinstance(model.policy, SharedNoisePolicy):
            raise TypeError("Only PPO's stacks are replaced.")
        self.generations[index] = generation
        here, observations = env.replace(index, plan_stack(self._config, index, generation))
        if model._last_obs is not None and model._last_episode_starts is not None:
            starts = np.ones(len(observations), dtype=bool)
            model._last_obs = exchanged(np.asarray(model._last_obs), here, observations)
            model._last_episode_starts = exchanged(model._last_episode_starts, here, starts)
        # What SB3 fixes at the start from the number of environments.
        model.n_envs = model.rollout_buffer.n_envs = env.num_envs
        if isinstance(model.rollout_buffer, TwinRolloutBuffer):
            model.rollout_buffer.stacks = env.stacks
        model.rollout_buffer.reset()
        model.batch_size = minibatch_size(self._config.ppo, env.num_envs)
        model.policy.set_groups(noise_groups(env.trainings, self._config.shared_noise))
