"""Stacked training: N trainings of one architecture that step together through `torch.func`."""

from lr_env.stack.settings import StackSettings
from lr_env.stack.stack import Stack

__all__ = ["Stack", "StackSettings"]
