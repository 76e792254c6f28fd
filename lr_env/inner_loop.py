"""The inner loop: one training that can be advanced update by update, and pickled between."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lr_env.arguments import check_count
from lr_env.devices import placed
from lr_env.errors import DataError, InvalidArgumentError, NonFiniteLossError
from lr_env.optimizers import OptimizerFactory, build_optimizer
from lr_env.randomness import IsolatedTorchRandomness, torch_generator
from lr_env.schedules import Schedule
from lr_env.tasks.base import Task


class BatchStream:
    """Endless shuffled training batches; knows its place, so that it survives pickling."""

    def __init__(self, task: Task, batch_size: int, generator: torch.Generator) -> None:
        self._task = task
        self._batch_size = batch_size
        self._generator = generator
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._epoch_state = self._generator.get_state()
        self._position = 0
        self._batches = iter(self._task.batches("train", self._batch_size, self._generator))

    def next(self) -> Any:
        """Return the next batch, of the next pass where this one is over."""
        for batch in self._batches:
            self._position += 1
            return batch
        if self._position == 0:
            raise DataError(f"Task {self._task.name!r} has no training batches.")
        self._begin_epoch()
        return self.next()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_batches"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        position = state["_position"]
        vars(self).update(state)
        self._generator.set_state(self._epoch_state)
        self._begin_epoch()
        for _ in range(position):
            self.next()


class InnerLoop:
    """A training of `task` from `seed`: initial weights, data order and dropout are its own.

    Raises:
        InvalidArgumentError, UnknownNameError: an unusable optimizer, batch size or dtype.
        ModelError: a model without trainable parameters.
    """

    def __init__(
        self,
        task: Task,
        seed: int,
        *,
        optimizer: str | OptimizerFactory,
        optimizer_arguments: Mapping[str, Any] | None,
        base_lr: float,
        schedule: Schedule,
        total_steps: int,
        batch_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        check_precision_and_batch(dtype, batch_size)
        self.task = task
        # As many as there are: what is drawn in an update is what the instruments are told of.
        self.batch_size = min(batch_size, max(1, task.size("train")))
        self.total_steps = total_steps
        self.base_lr = base_lr
        self._schedule = schedule
        self._dropout = IsolatedTorchRandomness(seed, "dropout", device=device)
        self._validation = IsolatedTorchRandomness(seed, "validation", device=device)
        # Drawn on the CPU, so that it begins alike on every device.
        with IsolatedTorchRandomness(seed, "model").use():
            self.model = task.build_model().to(dtype).to(device)
        self.model.train()
        self.optimizer = build_optimizer(
            optimizer, self.model.parameters(), base_lr, optimizer_arguments
        )
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self._dtype = dtype
        self._device = device
        self._stream = BatchStream(task, self.batch_size, torch_generator(seed, "batches"))
        self.set_base_lr(0)

    def __getstate__(self) -> dict[str, Any]:
        # Parameters leave their gradients behind when pickled or copied.
        return {**vars(self), "gradients": [p.grad for p in self.model.parameters()]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        gradients = state.pop("gradients")
        vars(self).update(state)
        for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
            parameter.grad = gradient

    def set_base_lr(self, step: int) -> None:
        """Set the base schedule's rate for the update at `step`."""
        factor = self._schedule(step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def forward_backward(self) -> Tensor:
        """Compute the next mini-batch's gradient; return its loss, detached."""
        batch = placed(self._stream.next(), self._device, self._dtype)
        self.optimizer.zero_grad()
        # Agents act under no_grad, and may step their environment in there, too.
        with torch.enable_grad(), self._dropout.use():
            loss = self.task.loss(self.model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @torch.no_grad()
    def validation_loss(self, samples: int) -> float:
        """Return the mean loss over the first `samples` of the validation split, in eval mode."""
        self.model.eval()
        total, seen = 0.0, 0
        with self._validation.use():
            for batch in self._validation_batches(samples):
                own = placed(batch, self._device, self._dtype)
                loss = float(self.task.loss(self.model, own))
                total, seen = total + loss, seen + 1
        self.model.train()
        return total / seen

    def _validation_batches(self, samples: int) -> Iterator[Any]:
        available = self.task.size("validation")
        if available < 1:
            raise DataError(f"Task {self.task.name!r} has no validation batches.")
        size, count = validation_batches(samples, available)
        return itertools.islice(self.task.batches("validation", size), count)


def validation_batches(samples: int, available: int) -> tuple[int, int]:
    """Return size and number of the equal batches that the validation loss is measured on."""
    samples = min(samples, available)
    count = math.ceil(samples / 256)
    return samples // count, count


def check_validation_samples(samples: int) -> None:
    """Raise InvalidArgumentError unless a loss can be measured on so many samples."""
    check_count("validation_samples", samples)


def check_precision_and_batch(dtype: torch.dtype, batch_size: int) -> None:
    """Raise InvalidArgumentError unless trainings can have this dtype and batch size."""
    check_count("batch_size", batch_size)
    if dtype not in (torch.float32, torch.float64):
        raise InvalidArgumentError(f"dtype is torch.float32 or torch.float64, not {dtype}.")


def check_start(task_name: str, losses_finite: bool) -> None:
    """Raise NonFiniteLossError for a task whose first losses are not finite."""
    if not losses_finite:
        raise NonFiniteLossError(
            f"The loss of task {task_name!r} is not finite before any update: check its data, "
            "initial weights and loss."
        )
