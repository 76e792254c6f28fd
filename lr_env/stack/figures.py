"""What a stack tells of its lanes, as plain tensors."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Outcome:
    """What one decision of every lane led to.

    Attributes:
        observation: `[N, L, F]`, of the fresh training where one ended.
        reward: `[N]`.
        terminated: `[N]` bool; budget used up, or diverged.
        final_observation: `[N, L, F]`, the last of a training that ended.
        potential: `[N]`, before any lane was begun anew.
        diverged: `[N]` bool; the training stopped at the mini-batch whose loss was not finite.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    final_observation: Tensor
    potential: Tensor
    diverged: Tensor


@dataclass(frozen=True)
class Figures:
    """What a stack tells of its lanes `[N]`; see the properties of the same names.

    Attributes: observation `[N, L, F]`, learning_rates `[N, L]`, all others `[N]`.
    """

    observation: Tensor
    learning_rates: Tensor
    steps: Tensor
    base_lr: Tensor
    train_loss: Tensor
    validation_loss: Tensor
    initial_loss: Tensor
