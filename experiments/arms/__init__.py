"""Arms: the methods that an evaluation compares."""

from experiments.arms.methods import METHODS, Method
from experiments.arms.names import Arm, parse_arms, parse_seeds
from experiments.arms.optimizers import build_optimizer
from experiments.arms.schedulers import Scheduler, build_scheduler

__all__ = [
    "METHODS",
    "Arm",
    "Method",
    "Scheduler",
    "build_optimizer",
    "build_scheduler",
    "parse_arms",
    "parse_seeds",
]
