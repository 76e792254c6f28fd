"""One run: a task, a seed and an arm, trained to the end of its budget."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from experiments.arms import Arm, Scheduler, build_controller, build_optimizer, build_scheduler
from lr_env.controller import LRController
from lr_env.errors import PolicyError
from lr_env.policy import FrozenPolicy
from lr_env.randomness import IsolatedTorchRandomness, torch_generator
from lr_env.tasks import Task, make_task

POINTS = 20


@dataclass(frozen=True)
class RunSpec:
    """What one run is; workers rebuild everything from it.

    `policy_sha256`: of the weights that `policy` has to hold, if that matters.
    """

    task: str
    task_arguments: Mapping[str, Any] = field(hash=False)
    seed: int
    arm: Arm
    policy: str | None
    epochs: int
    batch_size: int
    policy_sha256: str | None = None


@dataclass
class Progress:
    """What is written down of a run as it goes.

    Attributes:
        points: at each of the 20 readings: epochs, training loss, validation metrics.
        losses: training losses since the last reading.
        training_seconds: time spent on training, readings left out.
    """

    points: list[dict[str, float | None]] = field(default_factory=list)
    losses: list[torch.Tensor] = field(default_factory=list)
    training_seconds: float = 0.0


def run(spec: RunSpec) -> dict[str, Any]:
    """Train, and return the run's record.

    All arms of a seed share split, initial weights, data order and dropout masks. Validation
    data is read at 20 fixed points; test data once, at the end of the budget, whatever came of
    the run. A loss that is not finite ends the training and is recorded as divergence.
    """
    task = make_task(spec.task, seed=spec.seed, **spec.task_arguments)
    with IsolatedTorchRandomness(spec.seed, "model").use():
        model = task.build_model()
    steps_per_epoch = task.steps_per_epoch(spec.batch_size)
    total_steps = steps_per_epoch * spec.epochs
    optimizer = build_optimizer(spec.arm, model)
    scheduler = build_scheduler(spec.arm, optimizer, total_steps)
    controller = None
    if spec.policy is not None:
        controller = build_controller(
            spec.arm,
            _policy(spec.policy, spec.policy_sha256),
            model,
            optimizer,
            total_steps,
            steps_per_epoch,
            task.is_pretrained,
        )
    progress = Progress()
    with IsolatedTorchRandomness(spec.seed, "training").use():
        diverged_at = _train(spec, task, model, optimizer, scheduler, controller, progress)
    test = task.metrics(model, "test")
    steps = total_steps if diverged_at is None else diverged_at
    samples = steps * min(spec.batch_size, task.size("train"))
    return {
        "arm": spec.arm.name,
        "seed": spec.seed,
        "task": task.describe(),
        "diverged_at_step": diverged_at,
        "total_steps": total_steps,
        "points": progress.points,
        "test": {name: _finite(value) for name, value in test.items()},
        "seconds": progress.training_seconds,
        "samples_per_second": samples / max(progress.training_seconds, 1e-9),
        "learning_rates": None if controller is None else _rates(controller),
    }


def _policy(name: str, sha256: str | None) -> FrozenPolicy:
    policy = FrozenPolicy.load(name)
    if sha256 not in (None, policy.card["weights_sha256"]):
        raise PolicyError(
            f"Policy {name!r} was replaced while it was evaluated: finished runs are of the old "
            "one; run the same command again to evaluate the new one."
        )
    return policy


def _train(
    spec: RunSpec,
    task: Task,
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: Scheduler | None,
    controller: LRController | None,
    progress: Progress,
) -> int | None:
    """Train to the end; return the step at which the loss stopped being finite, if it did."""
    steps_per_epoch = task.steps_per_epoch(spec.batch_size)
    total = steps_per_epoch * spec.epochs
    readings = {math.ceil(total * (index + 1) / POINTS) for index in range(POINTS)}
    order = torch_generator(spec.seed, "batches")
    model.train()
    step, started = 0, time.perf_counter()
    for _ in range(spec.epochs):
        for batch in task.batches("train", spec.batch_size, order):
            loss = task.loss(model, batch)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            # Asked before the controller is: it raises at its decisions alone, later than others.
            if not math.isfinite(float(loss.detach())):
                progress.training_seconds += time.perf_counter() - started
                return step
            if controller is not None:
                controller.observe(loss)
            optimizer.step()
            step += 1
            progress.losses.append(loss.detach())
            if scheduler is not None and not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()
            if step in readings:
                progress.training_seconds += time.perf_counter() - started
                _read(task, model, step / steps_per_epoch, progress)
                started = time.perf_counter()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(task.metrics(model, "validation")["loss"])
    progress.training_seconds += time.perf_counter() - started
    return None


def _read(task: Task, model: nn.Module, epochs: float, progress: Progress) -> None:
    train = float(torch.stack(progress.losses).mean())
    progress.losses.clear()
    metrics = {name: _finite(value) for name, value in task.metrics(model, "validation").items()}
    progress.points.append({"epochs": epochs, "train_loss": _finite(train), **metrics})


def _rates(controller: LRController) -> dict[str, Any]:
    return {
        "layers": [layer.name for layer in controller.layers],
        "steps": [decision.step for decision in controller.history],
        "rates": [list(decision.learning_rates) for decision in controller.history],
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
