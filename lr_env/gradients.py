"""Pending gradients, as the optimizer is going to see them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer


def pending_gradient(parameter: Tensor, optimizer: Optimizer, *, scaled: bool = True) -> Tensor:
    """Return the dense gradient that `parameter` is moved by; zeros where it has none.

    A gradient scaler (`torch.amp.GradScaler`) leaves it to fused optimizers to divide by its scale,
    in place, while they step: `scaled` says that they have not yet.
    """
    if parameter.grad is None:
        return torch.zeros_like(parameter)
    gradient = unscaled(parameter.grad, optimizer) if scaled else parameter.grad
    return gradient.to_dense() if gradient.is_sparse else gradient


def unscaled(gradient: Tensor, optimizer: Optimizer) -> Tensor:
    """Return `gradient` without the scale that the optimizer is told to divide it by, if any."""
    scale = getattr(optimizer, "grad_scale", None)
    return gradient if scale is None else gradient / scale.to(gradient.device)


def step_is_void(optimizer: Optimizer) -> bool:
    """Return whether a gradient scaler has told a fused optimizer to leave this step out."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)
