"""What generated data has in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lr_env.tasks.family.spec import FamilySpec

VOCABULARY = 24
IMAGE = 8
Pair = tuple[Tensor, Tensor]
"""Inputs, and labels `[count]`."""
Generator = Callable[[FamilySpec, int, torch.Generator], Pair]
"""Draws so many samples, and the concept that they are of, from the last argument."""
