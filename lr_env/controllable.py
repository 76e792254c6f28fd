"""What a controller can be put to work on: the model, the optimizer, the process."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, Rprop

from lr_env.errors import ModelError

CLOSURES = (
    "use an optimizer that steps from gradients alone, such as Adam or SGD, and call "
    "loss.backward() before optimizer.step()."
)


def bare_model(model: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` wrapped, whose parameters have names of their own."""
    inner = getattr(model, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else model


def bare_optimizer(optimizer: Any) -> Optimizer:
    """Return the torch optimizer inside a wrapper, such as accelerate's or Lightning Fabric's.

    Wrappers have no hooks of their own, though some show those of the optimizer that they wrap.
    """
    if "_optimizer_step_pre_hooks" in getattr(optimizer, "__dict__", {}):
        bare: Optimizer = optimizer
        return bare
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if isinstance(inner, Optimizer) else optimizer


def check_model(model: Any) -> None:
    """Raise ModelError for what is no module."""
    if not isinstance(model, nn.Module):
        raise ModelError(f"The model is to be a torch.nn.Module, not a {type(model).__name__}.")


def check_closure(optimizer: Optimizer) -> None:
    """Raise ModelError for an optimizer that does not step from gradients alone."""
    name = type(optimizer).__name__
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ModelError(f"{name} needs a closure and cannot be controlled: {CLOSURES}")


def check_optimizer(optimizer: Any) -> None:
    """Raise ModelError for what is no optimizer, or one whose steps no learning rate decides."""
    if not isinstance(optimizer, Optimizer):
        name = type(optimizer).__name__
        raise ModelError(f"The optimizer is to be one of torch.optim's kind, not a {name}.")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, inner in vars(optimizer).items():
        if isinstance(inner, Optimizer) and any(
            id(p) in held for group in inner.param_groups for p in group["params"]
        ):
            raise ModelError(
                f"{type(optimizer).__name__} leaves its steps to the {type(inner).__name__} inside "
                f"it: hand over optimizer.{name}, the one that steps."
            )
    for group in optimizer.param_groups:
        if not hasattr(group.get("lr"), "__float__"):
            raise ModelError(
                f"{type(optimizer).__name__} has no learning rate to scale (lr is "
                f"{group.get('lr')!r}): give it one, such as Adafactor's lr=1e-3 with "
                "relative_step=False."
            )
    if any("d" in group and "d_coef" in group for group in optimizer.param_groups):
        raise ModelError(
            f"{type(optimizer).__name__} finds its own rate, one for all parameters, and cannot be "
            "controlled: use it by itself, or the controller with an optimizer such as Adam."
        )
    if isinstance(optimizer, Rprop):
        raise ModelError(
            "Rprop has step sizes of its own after the first step and cannot be controlled: use an "
            "optimizer that keeps to its learning rate, such as Adam or SGD."
        )


def check_step(optimizer: Optimizer, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Raise ModelError for a step that computes its gradient within itself."""
    given = [*(value for value in arguments if value is not optimizer), named.get("closure")]
    if any(callable(value) for value in given):
        raise ModelError(
            f"optimizer.step was handed a closure, in which the gradient comes too late: {CLOSURES}"
        )


def check_processes() -> None:
    """Raise ModelError where several processes train one model."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        count = torch.distributed.get_world_size()
        if count > 1:
            raise ModelError(
                f"{count} processes train this model, and a controller in each of them would let "
                "its copies drift apart: train in one process."
            )
