"""The N trainings of a stack: weights, data and clocks; how they begin, and how they go on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lr_env import decisions, devices
from lr_env.errors import InvalidArgumentError
from lr_env.inner_loop import check_precision_and_batch, check_start, validation_batches
from lr_env.instances import Instance
from lr_env.layers import LayerTable, group_layers
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.stack.arithmetic import EagerArithmetic, LaneArithmetic, LaneTensors
from lr_env.stack.blocks import BlockRunner, compiled_blocks, eager_blocks
from lr_env.stack.captured import CapturedArithmetic
from lr_env.stack.compiled import CompiledArithmetic
from lr_env.stack.data import StackedData
from lr_env.stack.interval import Interval, IntervalRunner
from lr_env.stack.lanes import Lanes
from lr_env.stack.model import StackedModel
from lr_env.stack.optimizers import build_stacked_optimizer
from lr_env.stack.perceptron import Perceptron
from lr_env.stack.settings import StackSettings
from lr_env.statistics import RAW_STATISTICS
from lr_env.tasks.tensor_task import TensorTask

TaskFactory = Callable[[int], TensorTask]

_TRIED = 64
"""Samples that tell whether a model is what it looks like."""
_READINGS = ("raw", "loss", "initial_loss", "validation_loss")


class Trainings:
    """N trainings of one architecture, at scales that somebody else decides on.

    Args:
        task, num, settings: as for `Stack`.

    Weights, samples and all that is made of them lie on the settings' device; what is drawn at
    random, clocks and losses lie on the CPU.

    Attributes:
        settings: what they share.
        layers, table: their layers, and the same as tensors.
        lanes: their draws and clocks.
        steps_per_epoch: updates of a pass over the training samples.
        raw: raw statistics `[N, L, R]`, when last read.
        loss: mean training loss since the last decision `[N]`, as last finite.
        initial_loss, validation_loss: the first and the latest `[N]`; NaN where it diverged.
    """

    def __init__(self, task: TaskFactory, num: int, settings: StackSettings) -> None:
        _check_lane_rates(settings.lane_rates, num)
        if num < 1:
            raise InvalidArgumentError(f"A stack has at least 1 training, not {num}.")
        self.settings = settings
        device = torch.device(settings.device)
        self._make_task = task
        first = task(0)
        self._task_name = first.name
        batch_size = first.batch_size if settings.batch_size is None else settings.batch_size
        check_precision_and_batch(settings.dtype, batch_size)
        with IsolatedTorchRandomness(0, "model").use():
            template = first.build_model().to(settings.dtype).to(device)
        self.layers = group_layers(template, first.is_pretrained)
        self.table = LayerTable.of(self.layers, settings.dtype, device)
        self.lanes = Lanes(num, settings)
        self._data = StackedData(first, num, batch_size, settings.dtype, device)
        self.batch_size = self._data.batch_size
        self.steps_per_epoch = self._data.train_size // self.batch_size
        batches = validation_batches(settings.validation_samples, first.size("validation"))
        self._validation_samples = math.prod(batches)
        self._validation_size = first.size("validation")
        self._model = StackedModel(template, first.loss_from_outputs)
        self._optimizer = build_stacked_optimizer(settings.optimizer, settings.optimizer_arguments)
        flat = torch.zeros((num, self._model.size), dtype=settings.dtype, device=device)
        rows = (num, len(self.layers))
        state, buffers = self._optimizer.init(flat), self._model.buffers(num)
        self._tensors = LaneTensors.fresh(flat, state, buffers, len(self.layers))
        sizes = [layer.size for layer in self.layers]
        self._eager = EagerArithmetic(self._model, self._optimizer, sizes)
        self._runner: IntervalRunner = self._perceptron(first, sizes) or self._by_blocks()
        self._dropout = IsolatedTorchRandomness(0, "dropout", device=device)
        self.raw = flat.new_zeros((*rows, len(RAW_STATISTICS)))
        self.loss = torch.zeros(num, dtype=settings.dtype)
        self.initial_loss = torch.ones_like(self.loss)
        self.validation_loss = torch.ones_like(self.loss)

    def begin(self, rows: Tensor) -> None:
        """Begin fresh instances in `rows`; the other lanes are not touched."""
        for lane in rows.tolist():
            self._load(lane, self.lanes.draw(lane))
        tensors = self._tensors
        device = tensors.flat.device
        if len(rows) == len(self.loss):
            seed = int(self.lanes.seeds[0])
            self._dropout = IsolatedTorchRandomness(seed, "dropout", device=device)
        there = rows.to(device)
        tensors.initial[there] = tensors.flat[there]
        forgotten = (tensors.update, tensors.direction, tensors.previous_dot)
        for kept in (*forgotten, *tensors.state.values()):
            kept[there] = 0.0
        buffers = {name: own[there] for name, own in tensors.buffers.items()}
        with self._dropout.use():
            losses, gradient = self._model.differentiate(
                tensors.flat[there], buffers, *self._data.next_batch(rows)
            )
            validation = self._data.validation(self._validation_samples, there)
            initial = self._model.evaluate(tensors.flat[there], buffers, *validation)
        tensors.gradient[there] = gradient
        for name, own in buffers.items():
            tensors.buffers[name][there] = own
        losses, initial = devices.on_host(torch.stack([losses, initial]))
        check_start(self._task_name, bool(torch.isfinite(losses + initial).all()))
        self.loss[rows] = losses
        self.initial_loss[rows] = initial
        self.validation_loss[rows] = initial
        self._foresee(there)

    def advance(self, scales: Tensor, active: Tensor) -> Tensor:
        """Train the lanes of `active` `[N]` to their next decisions at `scales` `[N, L]`.

        Returns which diverged `[N]`: those whose training or validation loss was not finite. All
        but the scales is on the CPU.
        """
        with self._dropout.use():
            loss, validation, updates = self._train(scales, active)
        self.lanes.step += updates.long()
        diverged = active & ~torch.isfinite(loss + validation)
        validation = validation.masked_fill(diverged, torch.nan)
        self.validation_loss = torch.where(active, validation, self.validation_loss)
        self.loss = torch.where(active & ~diverged, loss, self.loss)
        return diverged

    def whole_validation_loss(self) -> Tensor:
        """Return every lane's loss on its whole validation split `[N]`, in eval mode."""
        own = self._tensors
        inputs, targets = self._data.validation(self._validation_size, slice(None))
        # In parts: all lanes' activations on thousands of samples would not fit in a cache.
        parts = zip(torch.split(inputs, 256, 1), torch.split(targets, 256, 1), strict=True)
        losses = [self._model.evaluate(own.flat, own.buffers, x, y) * y.shape[1] for x, y in parts]
        return devices.on_host(torch.stack(losses).sum(0) / self._validation_size)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs, on the CPU.

        Samples come back from the instances' seeds.
        """
        return {
            "lanes": self.lanes.state_dict(),
            "data": self._data.state_dict(),
            "tensors": devices.copied_to_host(self._tensors.named()),
            "dropout": self._dropout.state.clone(),
            "own": devices.copied_to_host({f"_{name}": getattr(self, name) for name in _READINGS}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken."""
        self.lanes.load_state_dict(state["lanes"])
        for lane, seed in enumerate(self.lanes.seeds.tolist()):
            self._data.load(lane, self._make_task(seed), seed)
        self._data.load_state_dict(state["data"])
        for name, own in self._tensors.named().items():
            own.copy_(state["tensors"][name])
        self._dropout.state = state["dropout"].clone()
        for name in _READINGS:
            setattr(self, name, state["own"][f"_{name}"].to(getattr(self, name), copy=True))

    def _perceptron(self, task: TensorTask, sizes: list[int]) -> Perceptron | None:
        """Return what runs the trainings if they are compiled and their model is a perceptron."""
        usual = getattr(task.loss_from_outputs, "__func__", None) is TensorTask.loss_from_outputs
        on_cpu = self._tensors.flat.device.type == "cpu"
        if not (self.settings.compile and usual and on_cpu):
            return None
        few = [own[:_TRIED].contiguous() for own in task.tensors("train")]
        samples = devices.placed(few, torch.device("cpu"), self.settings.dtype)
        threads = torch.get_num_threads()
        return Perceptron.of(self._model, self._optimizer, sizes, samples, threads)

    def _by_blocks(self) -> BlockRunner:
        """Return what runs any trainings."""
        flat, threads = self._tensors.flat, torch.get_num_threads()
        arithmetic: LaneArithmetic = self._eager
        if self.settings.compile:
            arithmetic = CompiledArithmetic(self._eager, threads)
        elif flat.device.type == "cuda":
            arithmetic = CapturedArithmetic(self._eager, flat.device)
        blocks = eager_blocks(len(flat), flat[0].nbytes)
        if flat.device.type == "cuda":
            # A GPU does best with all of them at once.
            blocks = [slice(0, len(flat))]
        elif self.settings.compile:
            blocks = compiled_blocks(len(flat), flat[0].nbytes, threads)
        return BlockRunner(arithmetic, self._eager.spread, blocks)

    def _load(self, lane: int, instance: Instance) -> None:
        task = self._make_task(instance.seed)
        with IsolatedTorchRandomness(instance.seed, "model").use():
            module = task.build_model().to(self.settings.dtype)
        self._tensors.flat[lane] = self._model.flatten(module)
        for name, buffer in module.named_buffers():
            self._tensors.buffers[name][lane] = buffer
        self._data.load(lane, task, instance.seed)

    def _foresee(self, rows: Tensor) -> None:
        """Find out what the first update would change."""
        nominal = self.lanes.reference(self.raw)[rows].unsqueeze(1).expand(-1, len(self.layers))
        direction, raw = self._eager.foresee(self._tensors.rows(rows), nominal)
        self._tensors.direction[rows] = direction
        self.raw[rows] = raw

    def _train(self, scales: Tensor, active: Tensor) -> Tensor:
        """Make the interval's updates, and wait for them.

        Returns mean training losses, validation losses and numbers of updates `[3, N]`.
        """
        lanes = self.lanes
        counts = decisions.intervals(lanes.step, self.settings.steps_per_action, lanes.total_steps)
        interval = Interval.plan(
            counts.masked_fill(~active, 0), scales, lanes, self._data, self._optimizer
        )
        held_out = self._data.validation(self._validation_samples, slice(None))
        losses, validation, self.raw = self._runner.run(
            interval, self._tensors, self._data.train_samples, held_out
        )
        mean, updates = interval.means(losses)
        return devices.on_host(torch.stack([mean, validation, updates.to(mean)]))


def _check_lane_rates(rates: tuple[float, ...] | None, num: int) -> None:
    if rates is not None and len(rates) != num:
        raise InvalidArgumentError(
            f"lane_rates holds a rate for each of the {num} lanes, not {len(rates)}."
        )
