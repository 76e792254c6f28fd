"""Reward: progress of the log validation loss, shaped so that it telescopes."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from lr_env.arguments import check_number
from lr_env.errors import InvalidArgumentError, UnknownNameError

RewardKind = Literal["potential", "progress"]

LOWEST, HIGHEST = -4.0, 8.0
DIVERGED = -5.0


def check_reward(kind: str, gamma: float) -> None:
    """Raise UnknownNameError or InvalidArgumentError unless the kind exists and 0 < gamma <= 1."""
    if kind not in get_args(RewardKind):
        raise UnknownNameError("reward kind", str(kind), get_args(RewardKind))
    check_number("gamma", gamma)
    if not 0.0 < gamma <= 1.0:
        raise InvalidArgumentError(f"gamma must be in (0, 1], not {gamma}.")


def potential(validation_loss: Tensor, initial_loss: Tensor) -> Tensor:
    """Return phi = -log(loss / initial loss), clipped to [-4, 8]; -5 where it is not finite.

    Any shapes that broadcast; natural logarithm.
    """
    ratio = validation_loss.clamp(min=1e-12) / initial_loss.clamp(min=1e-12)
    phi = (-ratio.log()).clamp(LOWEST, HIGHEST)
    return torch.where(torch.isfinite(validation_loss), phi, torch.full_like(phi, DIVERGED))


def reward(
    before: Tensor, after: Tensor, gamma: float = 0.99, kind: RewardKind = "potential"
) -> Tensor:
    """Return the reward of one decision from the potentials around it.

    `potential`: gamma * phi' - phi (Ng, Harada and Russell 1999, eq. 1 of potential-based
    shaping with no other reward): the discounted return is the discounted final potential, so
    discounting brings no preference for early progress. `progress`: phi' - phi.
    """
    return (gamma if kind == "potential" else 1.0) * after - before
