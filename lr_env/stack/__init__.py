"""Stacked training: N trainings of one architecture that step together through `torch.func`."""

from lr_env.stack.figures import Outcome
from lr_env.stack.probe import check_stackable
from lr_env.stack.processes import SplitStack
from lr_env.stack.settings import StackSettings
from lr_env.stack.stack import Stack
from lr_env.stack.trainings import TaskFactory

__all__ = ["Outcome", "SplitStack", "Stack", "StackSettings", "TaskFactory", "check_stackable"]
