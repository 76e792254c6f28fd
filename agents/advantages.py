"""Advantages next to twins: what a whole training came to, above what its twins came to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor


class TwinRolloutBuffer(RolloutBuffer):
    """SB3's rollout buffer with advantages above the mean of the other twins.

    Every decision of a training is credited with the return of the whole of it, less the mean of
    the others of its instance, which differ in nothing but what the agent does (a group-relative
    baseline, Shao et al. 2024, section 4.1.2, without the training itself, as in Kool et al. 2019).
    Those without a twin at a decision are judged against the mean of all such in their stack that
    ended. What the value function learns stays as it was, and has no say.

    Returns from a decision on, as PPO has them, are biased here: noise that outlasts a decision
    has moved the loss already, and a training that is behind by it has the more to gain.

    Args:
        stacks: the stack of every slot `[slots]`.
        twins: returns a number for every slot now `[slots]`, equal among the slots of one layer
            in twins that are at the same decision.
        gains: returns what every slot's training has come to by its last decision `[slots]`; all
            other arguments as in SB3.
    """

    def __init__(
        self,
        *args: Any,
        stacks: NDArray[np.int64],
        twins: Callable[[], NDArray[np.int64]],
        gains: Callable[[], NDArray[np.float64]],
        **kwargs: Any,
    ) -> None:
        self.stacks = stacks
        self._twins_now, self._gains_now = twins, gains
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        """Begin a rollout."""
        super().reset()
        self._twins = np.zeros((self.buffer_size, self.n_envs), dtype=np.int64)
        self._gains = np.zeros((self.buffer_size, self.n_envs))
        self._current = self._twins_now()

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Take in a decision; by now the slots have moved on to the next."""
        here = self.pos
        super().add(*args, **kwargs)
        self._twins[here], self._gains[here] = self._current, self._gains_now()
        self._current = self._twins_now()

    def compute_returns_and_advantage(self, last_values: Tensor, dones: NDArray[Any]) -> None:
        """Compute returns as SB3 does, and advantages from whole trainings and their twins."""
        super().compute_returns_and_advantage(last_values, dones)
        ended = ended_within(self.episode_starts, dones)
        whole = whole_returns(self._gains, self.episode_starts)
        pairs = [above_twins(own, twins) for own, twins in zip(whole, self._twins, strict=True)]
        self.advantages = np.stack([above for above, _ in pairs])
        alone = np.stack([lone for _, lone in pairs])
        for stack in np.unique(self.stacks):
            # Of those that ended alone, too: what an unfinished training comes to is not known.
            own = alone & ended & (self.stacks == stack)
            if own.any():
                self.advantages[own] -= self.advantages[own].mean()
        self.advantages[~ended] = 0.0
        for stack in np.unique(self.stacks):
            here = np.broadcast_to(self.stacks == stack, ended.shape) & ended
            if here.any():
                own = self.advantages[here]
                self.advantages[here] = own / (np.sqrt(np.mean(own**2)) + 1e-8)


def whole_returns(gains: NDArray[np.float64], starts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the training that each decision is of came to `[steps, slots]`.

    `gains` `[steps, slots]` are what it had come to by then, `starts` `[steps, slots]` 1 where a
    training begins. Of those that do not end in the rollout: until its last step.
    """
    whole = gains.astype(np.float32)
    for step in range(len(whole) - 2, -1, -1):
        whole[step] = np.where(starts[step + 1] > 0, whole[step], whole[step + 1])
    return whole


def ended_within(starts: NDArray[np.float32], dones: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which decisions `[steps, slots]` are of trainings that ended before the rollout did.

    `starts` `[steps, slots]` are 1 where a training begins, `dones` `[slots]` where one ended with
    the rollout.
    """
    ends = np.concatenate([starts[1:], dones[None]]).astype(bool)
    return np.logical_or.accumulate(ends[::-1])[::-1]


def above_twins(
    values: NDArray[np.float32], twins: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return `values [slots]` above the mean of the others of the same number, and who has none.

    Those without another keep their own.
    """
    _, index, counts = np.unique(twins, return_inverse=True, return_counts=True)
    others = counts[index] - 1
    mean = (np.bincount(index, values)[index] - values) / np.maximum(others, 1)
    above = np.where(others > 0, values - mean, values).astype(np.float32)
    return above, others == 0
