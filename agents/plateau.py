"""An untrained actor that lowers rates where a validation loss that it sees has stopped falling."""

from __future__ import annotations

import math

import torch
from torch import nn

from lr_env.errors import InvalidArgumentError
from lr_env.observation import FEATURES

AGE = FEATURES.index("validation_age")
PATIENCE = 0.5
"""The feature `validation_age` after a tenth of the training without a new best."""
SHARPNESS = 10.0
UNIT = 0
"""The unit of every hidden layer that carries the rule."""


@torch.no_grad()
def begin(actor: nn.Sequential, step: float) -> None:
    """Make `actor`, of layers and tanh, act by a rule, from which it learns on.

    That is `-step` where there was no new best validation loss for a tenth of the training, and 0
    elsewhere: as torch's ReduceLROnPlateau, but gradually. Where no validation loss is seen, its
    age is 0. One unit of every hidden layer carries the rule; all others keep their weights.

    Raises:
        InvalidArgumentError: there is no hidden layer to carry it.
    """
    *hidden, head = (own for own in actor.modules() if isinstance(own, nn.Linear))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    if step == 0.0:
        return
    if not hidden:
        raise InvalidArgumentError("A plateau_step above 0 needs a policy with a hidden layer.")
    first, *others = hidden
    listen(first, UNIT, AGE, SHARPNESS, -SHARPNESS * PATIENCE)
    level = math.tanh(SHARPNESS * PATIENCE)
    for layer in others:
        listen(layer, UNIT, UNIT, 1.0, 0.0)
        level = math.tanh(level)
    # The unit is -level where the loss falls and level where it has stopped.
    head.weight[0, UNIT] = -0.5 * step / level
    head.bias[0] = -0.5 * step


def listen(layer: nn.Linear, unit: int, source: int, weight: float, bias: float) -> None:
    """Make one unit of `layer` read nothing but `source`."""
    layer.weight[unit] = 0.0
    layer.weight[unit, source] = weight
    layer.bias[unit] = bias
