"""The slot view: every layer of every training as an environment of one shared policy."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from lr_env.action import DISCRETE_ACTIONS
from lr_env.errors import InvalidArgumentError
from lr_env.observation import BOUND, FEATURES
from lr_env.vector_env import Arrays, Infos, LayerwiseLRVectorEnv


class SlotVectorEnv(VectorEnv[Arrays, Arrays, Arrays]):
    """N trainings of L layers as N * L environments; slot i * L + l is layer l of training i.

    A slot observes its layer's features `[F]`, acts with one number, `Box(1)` or `Discrete(5)`,
    and has the reward, the end and the infos of its training; `learning_rates` is its own rate.

    Args:
        env: the trainings, which also set the autoreset mode.
    """

    def __init__(self, env: LayerwiseLRVectorEnv) -> None:
        self.env = env
        self.layers = len(env.layer_names)
        self.num_envs = env.num_envs * self.layers
        self.metadata = env.metadata
        self.single_observation_space = spaces.Box(-BOUND, BOUND, (len(FEATURES),), np.float32)
        discrete = isinstance(env.single_action_space, spaces.MultiDiscrete)
        self.single_action_space = (
            spaces.Discrete(len(DISCRETE_ACTIONS))
            if discrete
            else spaces.Box(-1.0, 1.0, (1,), np.float32)
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: Any = None, options: Infos | None = None) -> tuple[Arrays, Infos]:
        """Begin trainings; `seed` is that of trainings, a `reset_mask` `[N * L]` that of slots.

        Raises:
            InvalidArgumentError: a mask that names some layers of a training and not others.
        """
        if options and "reset_mask" in options:
            options = {**options, "reset_mask": self._of_trainings(options["reset_mask"])}
        observations, infos = self.env.reset(seed=seed, options=options)
        return observations.reshape(-1, len(FEATURES)), self._of_slots(infos)

    def step(self, actions: Arrays) -> tuple[Arrays, Arrays, Arrays, Arrays, Infos]:
        """Take one decision in every slot: actions `[N * L, 1]`, discrete ones `[N * L]`."""
        values = np.asarray(actions)
        if values.shape != self.action_space.shape:
            raise InvalidArgumentError(
                f"Actions of all slots have shape {self.action_space.shape}, not {values.shape}."
            )
        results = self.env.step(values.reshape(self.env.num_envs, self.layers))
        observations, *by_training, infos = results
        reward, terminated, truncated = (self._repeat(array) for array in by_training)
        flat = observations.reshape(-1, len(FEATURES))
        return flat, reward, terminated, truncated, self._of_slots(infos)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the trainings."""
        self.env.close(**kwargs)

    def _repeat(self, array: Arrays) -> Arrays:
        return np.repeat(array, self.layers, axis=0)

    def _of_trainings(self, mask: Any) -> Arrays:
        """Return the mask `[N]` of trainings that a mask `[N * L]` of slots means."""
        values = np.asarray(mask)
        if values.shape != (self.num_envs,):
            raise InvalidArgumentError(f"reset_mask is a NumPy array of {self.num_envs} bools.")
        rows = values.reshape(-1, self.layers)
        if (rows != rows[:, :1]).any():
            raise InvalidArgumentError(
                "A training is reset with all its layers: give them equal entries in reset_mask."
            )
        return rows[:, 0].copy()

    def _of_slots(self, infos: Infos) -> Infos:
        """Return infos by slot."""
        slots: Infos = {}
        for name, value in infos.items():
            if name == "final_info":
                slots[name] = self._of_slots(value)
            elif name == "final_obs":
                slots[name] = np.full(self.num_envs, None, dtype=object)
                for training in np.flatnonzero(infos["_final_obs"]):
                    for layer, row in enumerate(value[training]):
                        slots[name][training * self.layers + layer] = row
            elif name == "learning_rates":
                slots[name] = value.reshape(-1)
            else:
                slots[name] = self._repeat(value)
        return slots
