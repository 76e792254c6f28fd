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
    gradient = parameter.grad
    if gradient is None:
        return torch.zeros_like(parameter)
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    scale = getattr(optimizer, "grad_scale", None) if scaled else None
    return gradient if scale is None else gradient / scale.to(gradient)


def step_is_void(optimizer: Optimizer) -> bool:
    """Return whether a gradient scaler has told a fused optimizer to leave this step out."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)
