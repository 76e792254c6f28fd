"""What recipe hf-warmup adds to the Trainer: readings, an end at divergence, a clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import TrainerCallback

from experiments.arms import Arm
from experiments.arms.agent import Clock
from experiments.effort import Effort
from experiments.engines import Report
from experiments.runs import RunSpec, finite, reading_steps
from lr_env.controllable import bare_optimizer
from lr_env.integrations.transformers import LossTap, LRControllerCallback
from lr_env.policy import FrozenPolicy
from lr_env.tasks import Task


class DivergedError(Exception):
    """The training loss is not finite any more; `step` updates were made."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss is not finite after {step} steps")
        self.step = step


class Readings(TrainerCallback):  # type: ignore[misc]
    """Reads the validation data at 20 points, and ends the training where the loss is not finite.

    Attributes:
        points: at each reading: epochs, training loss, validation metrics.
        seconds: spent on readings.
    """

    def __init__(self, spec: RunSpec, task: Task, report: Report) -> None:
        self.points: list[dict[str, float | None]] = []
        self.seconds = 0.0
        self._spec, self._task = spec, task
        self._report = report
        self._losses: list[float] = []
        self._tap: LossTap | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Start to listen to the model."""
        self._tap = LossTap(given["model"])
        self._steps = reading_steps(state.max_steps)
        self._effort = Effort.of(self._spec, self._task, state.max_steps)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Note the step's loss before anything is made of it."""
        if self._tap is None:
            return
        loss = float(self._tap.take())
        if not math.isfinite(loss):
            raise DivergedError(state.global_step)
        self._losses.append(loss)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Read the validation data if it is time to."""
        if state.global_step in self._steps:
            self._read(state, given["model"])
        self._report(self._effort.share(state.global_step, len(self.points)))

    def _read(self, state: Any, model: nn.Module) -> None:
        started = time.perf_counter()
        train = sum(self._losses) / len(self._losses)
        self._losses.clear()
        metrics = self._task.metrics(model, "validation")
        scores = {name: finite(value) for name, value in metrics.items()}
        self.points.append({"epochs": float(state.epoch), "train_loss": finite(train), **scores})
        self.seconds += time.perf_counter() - started


class TimedController(LRControllerCallback):
    """The arm's controller, with a clock on it."""

    def __init__(
        self, clock: Clock, arm: Arm, policy: FrozenPolicy, pretrained: Callable[[str], bool]
    ) -> None:
        super().__init__(
            policy, z_max=arm.method.z_max, z_init=arm.method.z_init, pretrained=pretrained
        )
        self._clock = clock

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Put the clock around the controller's hooks."""
        optimizer = bare_optimizer(given["optimizer"])
        self._clock.open(optimizer)
        super().on_train_begin(args, state, control, **given)
        self._clock.close(optimizer)
