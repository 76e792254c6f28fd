"""Any Gymnasium vector environment for Stable-Baselines3: agents in scripts of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvStepReturn

from lr_env.errors import InvalidArgumentError

_NO_PARTS = "The environments step together and have no attributes or methods of their own."


class VectorEnvForSB3(VecEnv):
    """A Gymnasium vector environment as a Stable-Baselines3 `VecEnv`: slots, for one.

    `model.set_random_seed`, or a seed given to the model, seeds the trainings at the next reset.

    Args:
        env: of autoreset mode `SameStep`, the only one that Stable-Baselines3 knows.

    Raises:
        InvalidArgumentError: another autoreset mode.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        if env.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise InvalidArgumentError(
                "Stable-Baselines3 takes environments that begin anew in the step in which they "
                "end: leave autoreset_mode at 'SameStep'."
            )
        self.env = env
        self._actions: NDArray[Any] = np.zeros(0)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> NDArray[Any]:
        """Begin all environments, from the seed that was given since the last time, if any."""
        seed = self._seeds[0]
        self._reset_seeds()
        observations, _ = self.env.reset(seed=seed)
        return np.asarray(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take actions for the next `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Return observations, rewards, dones and infos, of each environment a dictionary."""
        observations, rewards, terminated, truncated, own = self.env.step(self._actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(done):
            infos[index] = {
                "terminal_observation": own["final_obs"][index],
                "TimeLimit.truncated": bool(truncated[index] and not terminated[index]),
            }
        return np.asarray(observations), rewards.astype(np.float32), done, infos

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the vector environment, the same for every one of them."""
        return [getattr(self.env, attr_name, None) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raise: environments that step together have no attributes of their own."""
        raise NotImplementedError(_NO_PARTS)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Raise: environments that step together have no methods of their own."""
        raise NotImplementedError(_NO_PARTS)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for every environment."""
        return [False for _ in self._get_indices(indices)]
