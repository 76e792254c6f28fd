"""One run: a task, a seed and an arm, trained to the end of its budget."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from experiments.arms import build_optimizer, build_scheduler
from experiments.arms.agent import Agent, build_agent
from experiments.arms.optimizers import judged_weights, training_mode
from experiments.arms.schedulers import Scheduler
from experiments.devices import seeded
from experiments.effort import Effort
from experiments.engines import Report, silent
from experiments.runs import RunSpec, finite, load_policy, rates_of, reading_steps
from lr_env.randomness import IsolatedTorchRandomness, torch_generator
from lr_env.tasks import Task, make_task


@dataclass
class Training:
    """Everything that one run holds.

    Attributes:
        points: at each of the 20 readings: epochs, training loss, validation metrics.
        losses: training losses since the last reading.
        seconds: time spent on training, readings left out.
    """

    spec: RunSpec
    task: Task
    model: nn.Module
    optimizer: Optimizer
    scheduler: Scheduler | None
    agent: Agent | None
    total_steps: int
    steps_per_epoch: int
    points: list[dict[str, float | None]] = field(default_factory=list)
    losses: list[torch.Tensor] = field(default_factory=list)
    seconds: float = 0.0


def run(spec: RunSpec, report: Report = silent) -> dict[str, Any]:
    """Train, and return the run's record.

    All arms of a seed share split, initial weights, data order and dropout masks. Validation
    data is read at 20 fixed points; test data once, at the end of the budget, whatever came of
    the run. A loss that is not finite ends the training and is recorded as divergence.

    `report` is told the share of the run that is done.
    """
    training = _prepare(spec)
    with seeded(spec.seed, "training", spec.device):
        diverged_at = _train(training, report)
        test = _test(training) if spec.read_test else {}
    steps = training.total_steps if diverged_at is None else diverged_at
    samples = steps * min(spec.batch_size, training.task.size("train"))
    agent = training.agent
    return {
        "arm": spec.arm.name,
        "lr": spec.arm.lr,
        "seed": spec.seed,
        "task": training.task.describe(),
        "device": spec.device,
        "diverged_at_step": diverged_at,
        "total_steps": training.total_steps,
        "points": training.points,
        "test": test,
        "seconds": training.seconds,
        "controller_seconds": agent.seconds if agent else 0.0,
        "samples_per_second": samples / max(training.seconds, 1e-9),
        "learning_rates": rates_of(agent.controller) if agent else None,
    }


def _prepare(spec: RunSpec) -> Training:
    task = make_task(spec.task, seed=spec.seed, **spec.task_arguments)
    with IsolatedTorchRandomness(spec.seed, "model").use():
        model = task.build_model()
    model.to(spec.device)
    steps_per_epoch = task.steps_per_epoch(spec.batch_size)
    total_steps = steps_per_epoch * spec.epochs
    optimizer = build_optimizer(spec.arm, model, total_steps)
    scheduler = build_scheduler(spec.arm, optimizer, total_steps)
    policy = load_policy(spec)
    agent = None
    if policy is not None:
        agent = build_agent(
            spec.arm, policy, model, optimizer, total_steps, steps_per_epoch, spec.batch_size,
            task.is_pretrained, spec.seed,
        )  # fmt: skip
    return Training(spec, task, model, optimizer, scheduler, agent, total_steps, steps_per_epoch)


def _train(training: Training, report: Report) -> int | None:
    """Train to the end; return the step at which the loss stopped being finite, if it did."""
    task, spec = training.task, training.spec
    readings = reading_steps(training.total_steps)
    effort = Effort.of(spec, task, training.total_steps)
    order = torch_generator(spec.seed, "batches")
    training.model.train()
    training_mode(training.optimizer)
    step, started = 0, time.perf_counter()
    for _ in range(spec.epochs):
        for batch in task.batches("train", spec.batch_size, order):
            if not _step(training, batch):
                training.seconds += time.perf_counter() - started
                return step
            step += 1
            if step in readings:
                training.seconds += time.perf_counter() - started
                _read(training, step / training.steps_per_epoch)
                started = time.perf_counter()
            report(effort.share(step, len(training.points)))
    training.seconds += time.perf_counter() - started
    return None


def _step(training: Training, batch: Any) -> bool:
    """Make one optimizer step; return False, and make none, if the loss is not finite."""
    loss = training.task.loss(training.model, batch)
    training.optimizer.zero_grad()
    torch.autograd.backward(loss)
    # Asked before the controller is: it raises at its decisions alone, later than others.
    value = float(loss.detach())
    if not math.isfinite(value):
        return False
    if training.agent is not None:
        training.agent.observe(loss)
    training.optimizer.step()
    training.losses.append(loss.detach())
    if training.scheduler is not None:
        training.scheduler.after_step(value)
    return True


def _read(training: Training, epochs: float) -> None:
    train = float(torch.stack(training.losses).mean())
    training.losses.clear()
    metrics = {name: finite(value) for name, value in _judge(training, "validation").items()}
    training.points.append({"epochs": epochs, "train_loss": finite(train), **metrics})
    loss = metrics["loss"]
    if loss is None:
        return
    if training.scheduler is not None:
        training.scheduler.after_reading(loss)
    if training.agent is not None and training.spec.arm.method.sees_validation:
        training.agent.controller.observe_validation(loss)


def _judge(training: Training, split: Any) -> dict[str, float]:
    with judged_weights(
        training.optimizer, training.task, training.model, training.spec.batch_size
    ):
        return dict(training.task.metrics(training.model, split))


def _test(training: Training) -> dict[str, float | None]:
    return {name: finite(value) for name, value in _judge(training, "test").items()}
