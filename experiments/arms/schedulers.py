"""The scheduler of an arm: told of every step's loss and every reading of validation data."""

from __future__ import annotations

from typing import Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from experiments.arms.methods import GREEDY_RANGE, PLATEAU_PATIENCE
from experiments.arms.names import Arm
from experiments.arms.optimizers import import_library
from lr_env.schedules import resolve_schedule


class Scheduler(Protocol):
    """What the training loop tells a scheduler."""

    def after_step(self, loss: float) -> None:
        """Take note of an optimizer step, and of the training loss that it was made on."""

    def after_reading(self, validation_loss: float) -> None:
        """Take note of one of the readings of the validation data."""


class Planned:
    """A schedule of the step alone."""

    def __init__(self, scheduler: LRScheduler) -> None:
        self._scheduler = scheduler

    def after_step(self, loss: float) -> None:
        """Go on by one step."""
        self._scheduler.step()

    def after_reading(self, validation_loss: float) -> None:
        """Do nothing: the schedule counts steps."""


class Plateau:
    """ReduceLROnPlateau, on the validation loss of every reading."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._scheduler = ReduceLROnPlateau(optimizer, factor=0.1, patience=PLATEAU_PATIENCE)

    def after_step(self, loss: float) -> None:
        """Do nothing: readings count."""

    def after_reading(self, validation_loss: float) -> None:
        """Lower the rate if the validation loss has stopped falling."""
        self._scheduler.step(validation_loss)


class Greedy:
    """GreedyLR of transformers, on the training loss of every step.

    Its published use is by evaluation; trainings of a few epochs have too few of them for a
    patience of ten, so it is given every step's loss and smooths them over its own window.
    """

    def __init__(self, arm: Arm, optimizer: Optimizer) -> None:
        import_library(arm)
        from transformers.optimization import GreedyLR

        self._scheduler = GreedyLR(
            optimizer,
            smooth=True,
            min_lr=arm.lr / GREEDY_RANGE,
            max_lr=arm.lr * GREEDY_RANGE,
        )

    def after_step(self, loss: float) -> None:
        """Raise the rate while the loss falls, lower it while it does not."""
        self._scheduler.step(loss)

    def after_reading(self, validation_loss: float) -> None:
        """Do nothing: steps count."""


def build_scheduler(arm: Arm, optimizer: Optimizer, total_steps: int) -> Scheduler | None:
    """Return the arm's scheduler; None where the rate stays as it is."""
    name = arm.method.schedule
    if name == "constant":
        return None
    if name == "reduce-on-plateau":
        return Plateau(optimizer)
    if name == "greedy":
        return Greedy(arm, optimizer)
    if name == "onecycle":
        return Planned(OneCycleLR(optimizer, max_lr=arm.lr, total_steps=total_steps))
    schedule = resolve_schedule(name)
    return Planned(LambdaLR(optimizer, lambda step: schedule(step, total_steps)))
