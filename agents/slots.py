"""Layers as slots: N trainings of L layers are N * L environments of one shared policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv
from torch import Tensor

from agents.advantages import above_twins
from agents.curriculum import StackPlan
from agents.workers import Workers
from lr_env.action import DISCRETE_ACTIONS, decode_discrete
from lr_env.observation import BOUND, FEATURES
from lr_env.stack import Outcome

Observations = NDArray[np.float32]


class SlotVecEnv(VecEnv):
    """A mix of stacks as a Stable-Baselines3 `VecEnv`: one environment for each layer.

    Observations `[slots, F]`, actions `Box(1)` or `Discrete(5)`; every layer of a training
    gets the training's reward and ends with it (SAME_STEP autoreset, as VecEnv wants it).

    Args:
        workers: that the stacks are spread over.
        plans: of the stacks.
        discrete: whether actions are discrete.
        relative: whether a reward is what a training gains above the mean of the others of its
            instance at that decision; nothing for one that has none left.
        gamma: discount of `gains`.
        seen: 1 for every feature that the agent sees, 0 for the others `[F]`; all if not given.

    Attributes:
        trainings: training number of each slot.
        stacks: stack number of each slot.
        lengths, returns: of the training under way, by training.
        gains: rewards until now, discounted from the training's start, by training; until the next
            decision of the one that has just ended.
        episodes: number of trainings that have ended, by training.
    """

    def __init__(
        self,
        workers: Workers,
        plans: Sequence[StackPlan],
        discrete: bool,
        relative: bool = False,
        gamma: float = 1.0,
        seen: Tensor | None = None,
    ) -> None:
        self.workers = workers
        self._relative, self._gamma = relative, gamma
        self._seen = torch.ones(len(FEATURES)) if seen is None else seen
        self.discrete = discrete
        self._shapes = [
            (plan.entry.lanes, layers)
            for plan, layers in zip(plans, workers.layers, strict=True)
        ]  # fmt: skip
        self.returns = np.zeros(sum(lanes for lanes, _ in self._shapes))
        self.gains = np.zeros(len(self.returns))
        self.lengths = np.zeros(len(self.returns), dtype=np.int64)
        self.episodes = np.zeros(len(self.returns), dtype=np.int64)
        self._twin_lanes = plans[0].twins
        self._number()
        self._nothing: dict[str, Any] = {}
        low_high = (-BOUND, BOUND, (len(FEATURES),), np.float32)
        action = spaces.Discrete(len(DISCRETE_ACTIONS)) if discrete else spaces.Box(-1, 1, (1,))
        super().__init__(len(self.trainings), spaces.Box(*low_high), action)

    def reset(self) -> Observations:
        """Begin all trainings anew."""
        for own in (self.returns, self.gains, self.lengths, self.episodes):
            own[:] = 0
        return self._rows(self.workers.reset())

    def replace(self, index: int, plan: StackPlan) -> tuple[slice, Observations]:
        """Put a stack of `plan` in the place of one; all others go on.

        Returns the slots that the old one had, and the first observations of the new ones.
        """
        observation = self.workers.replace(index, plan)
        lanes = [own for own, _ in self._shapes]
        slots = [lanes * layers for lanes, layers in self._shapes]
        first, first_slot = sum(lanes[:index]), sum(slots[:index])
        here = slice(first, first + lanes[index])
        self._shapes[index] = (observation.shape[0], observation.shape[1])
        zeros = np.zeros(observation.shape[0], dtype=np.int64)
        self.returns = exchanged(self.returns, here, zeros.astype(float))
        self.gains = exchanged(self.gains, here, zeros.astype(float))
        self.lengths = exchanged(self.lengths, here, zeros)
        self.episodes = exchanged(self.episodes, here, zeros)
        self._number()
        self.num_envs = len(self.trainings)
        return slice(first_slot, first_slot + slots[index]), self._rows([observation])

    def _number(self) -> None:
        """Number the trainings, stack by stack, and say which slots are whose."""
        layers = np.repeat(*np.array(self._shapes)[:, ::-1].T)
        slots = np.prod(self._shapes, axis=1)
        self.stacks: NDArray[np.int64] = np.repeat(np.arange(len(slots)), slots)
        self.trainings: NDArray[np.int64] = np.repeat(np.arange(len(layers)), layers)
        self._first_slots = np.flatnonzero(np.diff(self.trainings, prepend=-1))
        # Lanes of a stack are a multiple of the twins.
        self._instances = np.arange(len(layers)) // self._twin_lanes
        self._layers = np.concatenate([np.arange(own) for own in layers])
        self._deepest = int(layers.max())

    def twins(self) -> NDArray[np.int64]:
        """Return a number for every slot now `[slots]`.

        Equal among the slots of one layer in twins that are at the same decision.
        """
        own: NDArray[np.int64] = self._moments()[self.trainings] * self._deepest + self._layers
        return own

    def _moments(self) -> NDArray[np.int64]:
        """Return a number for every training, equal in twins that are at the same decision."""
        moments = np.stack([self._instances, self.episodes, self.lengths], axis=1)
        _, number = np.unique(moments, axis=0, return_inverse=True)
        return number.reshape(-1).astype(np.int64)

    def slot_gains(self) -> NDArray[np.float64]:
        """Return `gains` by slot `[slots]`."""
        own: NDArray[np.float64] = self.gains[self.trainings]
        return own

    def step_async(self, actions: NDArray[Any]) -> None:
        """Send actions `[slots]` or `[slots, 1]`."""
        flat = torch.from_numpy(np.asarray(actions).reshape(-1))
        values = decode_discrete(flat).float() if self.discrete else flat.float()
        parts = torch.split(values, [lanes * layers for lanes, layers in self._shapes])
        self.workers.step_async([
            part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)
        ])  # fmt: skip

    def step_wait(
        self,
    ) -> tuple[Observations, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Return observations, rewards, dones and infos by slot."""
        outcomes = [Outcome(**fields) for fields in self.workers.step_wait()]  # type: ignore[arg-type]
        reward = torch.cat([outcome.reward for outcome in outcomes]).numpy()
        ended = torch.cat([outcome.terminated for outcome in outcomes]).numpy()
        own = self._above_twins(reward) if self._relative else reward
        self.returns += reward
        self.gains[self.lengths == 0] = 0.0
        self.gains += self._gamma**self.lengths * reward
        self.lengths += 1
        infos = self._infos(outcomes, ended)
        self.returns[ended] = 0.0
        self.lengths[ended] = 0
        self.episodes[ended] += 1
        observation = self._rows([outcome.observation for outcome in outcomes])
        return observation, own[self.trainings].astype(np.float32), ended[self.trainings], infos

    def _above_twins(self, reward: NDArray[np.float64]) -> NDArray[np.float32]:
        above, alone = above_twins(reward.astype(np.float32), self._moments())
        return np.where(alone, np.float32(0.0), above)

    def _rows(self, observations: Sequence[Tensor]) -> Observations:
        flat = torch.cat([own.reshape(-1, own.shape[-1]) for own in observations])
        rows: Observations = (flat.float() * self._seen).numpy()
        return rows

    def _infos(self, outcomes: list[Outcome], ended: NDArray[np.bool_]) -> list[dict[str, Any]]:
        # One dictionary for all slots that go on: there are thousands, and nobody writes to it.
        infos = [self._nothing] * self.num_envs
        if not ended.any():
            return infos
        last = self._rows([outcome.final_observation for outcome in outcomes])
        for slot in np.flatnonzero(ended[self.trainings]):
            infos[slot] = {"terminal_observation": last[slot], "TimeLimit.truncated": False}
        for training in np.flatnonzero(ended):
            infos[self._first_slots[training]]["episode"] = {
                "r": float(self.returns[training]), "l": int(self.lengths[training]),
            }  # fmt: skip
        return infos

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every stack."""
        return {
            "stacks": self.workers.state_dict(),
            "returns": torch.from_numpy(self.returns.copy()),
            "gains": torch.from_numpy(self.gains.copy()),
            "lengths": torch.from_numpy(self.lengths.copy()),
            "episodes": torch.from_numpy(self.episodes.copy()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.workers.load_state_dict(state["stacks"])
        self.returns[:] = state["returns"].numpy()
        self.gains[:] = state["gains"].numpy()
        self.lengths[:] = state["lengths"].numpy()
        self.episodes[:] = state["episodes"].numpy()

    def close(self) -> None:
        """End the worker processes."""
        self.workers.close()

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Do nothing: every stack has its seed from its plan."""
        return [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute, the same for every slot."""
        return [getattr(self, attr_name, None) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raise: slots have no attributes of their own."""
        raise NotImplementedError("Slots share everything but their observations.")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Raise: slots have no methods of their own."""
        raise NotImplementedError("Slots share everything but their observations.")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for every slot."""
        return [False for _ in self._get_indices(indices)]


def exchanged(values: NDArray[Any], here: slice, new: NDArray[Any]) -> NDArray[Any]:
    """Return `values` with those `here` exchanged for new ones, any number of them."""
    return np.concatenate([values[: here.start], new, values[here.stop :]])


def noise_groups(trainings: NDArray[np.int64], shared: float) -> NDArray[np.int64]:
    """Return which random number each slot explores with.

    In the given share of trainings all layers have the same one: with independent noise the
    global rate of a deep network hardly moves, and nobody learns what moving it does.
    """
    # Multiples of the golden ratio spread the share evenly over stacks of any size.
    together = (trainings * 0.6180339887498949) % 1.0 < shared
    names = np.where(together, -1 - trainings, np.arange(len(trainings)))
    _, groups = np.unique(names, return_inverse=True)
    return groups.astype(np.int64)
