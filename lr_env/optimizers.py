"""Optimizers by name: any of torch.optim, with the settings that the project takes for granted."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lr_env.errors import InvalidArgumentError, ModelError, UnknownNameError
from lr_env.layers import NOTHING_TO_TRAIN

OptimizerFactory = Callable[..., Optimizer]

USUAL_ARGUMENTS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}}
"""Arguments that differ from torch's defaults."""


def optimizer_names() -> dict[str, type[Optimizer]]:
    """Return torch.optim's optimizers by lower-case name."""
    return {
        name.lower(): value
        for name, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, Optimizer) and value is not Optimizer
    }


def build_optimizer(
    optimizer: str | OptimizerFactory,
    parameters: Iterable[nn.Parameter],
    lr: float,
    arguments: Mapping[str, Any] | None = None,
) -> Optimizer:
    """Build an optimizer from a torch.optim name or a factory called with (parameters, lr=).

    Raises:
        UnknownNameError: no such optimizer.
        InvalidArgumentError: it takes no such argument, or not this value.
        ModelError: none of `parameters` requires a gradient.
    """
    chosen: dict[str, Any] = dict(arguments or {})
    if isinstance(optimizer, str):
        known = optimizer_names()
        if optimizer.lower() not in known:
            raise UnknownNameError("optimizer", optimizer, known)
        factory: OptimizerFactory = known[optimizer.lower()]
        chosen = {**USUAL_ARGUMENTS.get(optimizer.lower(), {}), **chosen}
    elif callable(optimizer):
        factory = optimizer
    else:
        raise InvalidArgumentError(
            "optimizer is a name from torch.optim or a function of (parameters, lr=), not an "
            f"object of type {type(optimizer).__name__}."
        )
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise ModelError(NOTHING_TO_TRAIN)
    try:
        return factory(trainable, lr=lr, **chosen)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise InvalidArgumentError(f"Optimizer {optimizer!r}: {error}.") from error
