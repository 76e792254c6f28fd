"""Advantages in units of each stack: a training whose loss vanishes must not drown the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor


class StackwiseRolloutBuffer(RolloutBuffer):
    """SB3's rollout buffer with advantages of mean 0 and variance 1 within each stack.

    Where a loss falls a hundredfold, one decision is worth ten times what it is in fine-tuning;
    PPO's normalisation over all slots would leave fine-tuning a tenth of a voice. What the value
    function learns stays in nats.

    Args:
        stacks: the stack of every slot `[slots]`; all others as in SB3.
    """

    def __init__(self, *args: Any, stacks: NDArray[np.int64], **kwargs: Any) -> None:
        self.stacks = stacks
        super().__init__(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: Tensor, dones: NDArray[Any]) -> None:
        """Compute both as SB3 does, then bring the advantages to each stack's own scale."""
        super().compute_returns_and_advantage(last_values, dones)
        for stack in np.unique(self.stacks):
            own = self.advantages[:, self.stacks == stack]
            scaled = (own - own.mean()) / (own.std() + 1e-4)
            self.advantages[:, self.stacks == stack] = scaled
