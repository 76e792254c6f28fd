"""Final losses as they are compared: finite, whatever became of the training."""

from __future__ import annotations

import torch
from torch import Tensor

from lr_env.reward import DIVERGED

LOWEST = 1e-12


def log_losses(loss: Tensor, initial_loss: Tensor) -> Tensor:
    """Return log final losses; a training that diverged counts as far above its initial loss.

    That far is what the reward takes it for: e^5 times.
    """
    worst = initial_loss.log() - DIVERGED
    known = torch.isfinite(loss)
    return torch.where(known, loss.clamp(min=LOWEST).log(), worst).minimum(worst)
