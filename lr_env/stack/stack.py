"""A stack: N trainings of one architecture that step together, each at its own pace."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lr_env import decisions
from lr_env.errors import InvalidArgumentError
from lr_env.inner_loop import check_precision_and_batch, check_start, validation_batches
from lr_env.instances import Instance, check_base_lr
from lr_env.layers import LayerTable, group_layers
from lr_env.observation import FEATURES, Memory, Signals, features, relative_rates, remember
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.reward import check_reward, potential, reward
from lr_env.stack.data import StackedData
from lr_env.stack.lanes import Lanes
from lr_env.stack.model import StackedModel
from lr_env.stack.optimizers import State, build_stacked_optimizer
from lr_env.stack.settings import StackSettings
from lr_env.stack.statistics import StackedStatistics
from lr_env.tasks.tensor_task import TensorTask

TaskFactory = Callable[[int], TensorTask]

_OWN = ("_z", "_loss", "_initial_loss", "_validation_loss", "_observation")


@dataclass(frozen=True)
class Outcome:
    """What one decision of every lane led to.

    Attributes:
        observation: `[N, L, F]`, of the fresh training where one ended.
        reward: `[N]`.
        terminated: `[N]` bool; budget used up, or diverged.
        final_observation: `[N, L, F]`, the last of a training that ended.
        potential: `[N]`, before any lane was begun anew.
        diverged: `[N]` bool; the training stopped at the mini-batch whose loss was not finite.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    final_observation: Tensor
    potential: Tensor
    diverged: Tensor


class Stack:
    """N trainings together; a lane that ends begins a fresh instance in the same step.

    Lane i, seeded with s + i, draws what the single environment seeded so draws, and is the
    same training.

    Args:
        task: builds an instance from a seed; architecture and shapes must not depend on it.
        num: number of lanes N.
        settings: what they share.

    Raises:
        LrEnvError: one of its subclasses, for settings that cannot be used.
    """

    def __init__(self, task: TaskFactory, num: int, settings: StackSettings) -> None:
        check_base_lr(settings.base_lr)
        check_reward(settings.reward_kind, settings.gamma)
        if num < 1:
            raise InvalidArgumentError(f"A stack has at least 1 training, not {num}.")
        self.num = num
        self.settings = settings
        self._make_task = task
        first = task(0)
        self._task_name = first.name
        batch_size = first.batch_size if settings.batch_size is None else settings.batch_size
        check_precision_and_batch(settings.dtype, batch_size)
        with IsolatedTorchRandomness(0, "model").use():
            template = first.build_model().to(settings.dtype)
        self.layers = group_layers(template, first.is_pretrained)
        self._data = StackedData(first, num, batch_size, settings.dtype)
        batches = validation_batches(settings.validation_samples, first.size("validation"))
        self._validation_samples = math.prod(batches)
        self._model = StackedModel(template, first.loss_from_outputs, num)
        self._optimizer = build_stacked_optimizer(settings.optimizer, settings.optimizer_arguments)
        self._state: State = self._optimizer.init(self._model.flat)
        self._statistics = StackedStatistics(self.layers, self._model.flat)
        self._table = LayerTable.of(self.layers, settings.dtype)
        self._lanes = Lanes(num, settings)
        self._no_memory = Memory.empty((num,), len(self.layers), self._model.flat)
        self._memory = self._no_memory
        self._z = self._model.flat.new_zeros((num, len(self.layers)))
        self._loss = self._model.flat.new_zeros(num)
        self._initial_loss = self._model.flat.new_ones(num)
        self._validation_loss = self._model.flat.new_ones(num)
        self._observation = self._model.flat.new_zeros((num, len(self.layers), len(FEATURES)))
        self._dropout = IsolatedTorchRandomness(0, "dropout")

    @property
    def observation(self) -> Tensor:
        """The latest observation of every lane `[N, L, F]`."""
        return self._observation

    @property
    def potential(self) -> Tensor:
        """The potential of every lane `[N]`, float64."""
        return potential(self._validation_loss.double(), self._initial_loss.double())

    @property
    def learning_rates(self) -> Tensor:
        """The rate of every layer's next update `[N, L]`."""
        return self._lanes.rates(self._model.flat).unsqueeze(1) * self._z.exp2()

    @property
    def steps(self) -> Tensor:
        """Updates made by every lane `[N]`."""
        return self._lanes.step.clone()

    @property
    def base_lr(self) -> Tensor:
        """The nominal base rate of every lane `[N]`, float64."""
        return self._lanes.base_lr.clone()

    @property
    def train_loss(self) -> Tensor:
        """The mean training loss of every lane since its last decision, as last observed `[N]`."""
        return self._loss.clone()

    @property
    def validation_loss(self) -> Tensor:
        """The latest validation loss of every lane `[N]`; NaN where it diverged."""
        return self._validation_loss.clone()

    @property
    def initial_loss(self) -> Tensor:
        """The validation loss that every lane began with `[N]`."""
        return self._initial_loss.clone()

    def reset(self, seed: int | None = None) -> Tensor:
        """Begin all trainings anew, lane i seeded with `seed + i`; return `[N, L, F]`."""
        seeds = None if seed is None else [seed + lane for lane in range(self.num)]
        return self.begin(torch.ones(self.num, dtype=torch.bool), seeds)

    def begin(self, mask: Tensor, seeds: Sequence[int | None] | None = None) -> Tensor:
        """Begin fresh trainings in the lanes of `mask` `[N]`; return observations `[N, L, F]`.

        `seeds [N]` seed those lanes first; where None, a lane goes on with its own generator.
        The other lanes stay as they are, to the last bit.
        """
        rows = mask.nonzero().squeeze(1)
        for lane, seed in enumerate(seeds or ()):
            if mask[lane] and seed is not None:
                self._lanes.seed(lane, seed)
        self._begin(rows)
        self._observation = torch.where(mask.view(-1, 1, 1), self._observe(rows), self._observation)
        return self._observation

    def step(self, action: Tensor) -> Outcome:
        """Take one decision `[N, L]` in every lane; those that end begin anew at once."""
        outcome = self.advance(action)
        if not outcome.terminated.any():
            return outcome
        return replace(outcome, observation=self.begin(outcome.terminated))

    def advance(self, action: Tensor, active: Tensor | None = None) -> Outcome:
        """Take one decision `[N, L]` in the lanes of `active` `[N]` (all if None); begin none.

        Where a lane is not active its reward is 0, and it stays as it is.
        """
        if active is None:
            active = torch.ones(self.num, dtype=torch.bool)
        before, previous = self.potential, self._loss
        moved = self.settings.envelope.move(self._z, action.to(self._z))
        self._z = torch.where(active.unsqueeze(1), moved, self._z)
        with self._dropout.use():
            self._train(active)
        loss = self._evaluate()
        diverged = ~torch.isfinite(loss + self._loss)
        self._validation_loss = loss.masked_fill(diverged, torch.nan)
        self._loss = torch.where(diverged, previous, self._loss)
        after = self.potential
        observed = self._observe(None if active.all() else active.nonzero().squeeze(1))
        seen = (active & ~diverged).view(-1, 1, 1)
        self._observation = torch.where(seen, observed, self._observation)
        ended = active & (diverged | (self._lanes.step >= self._lanes.total_steps))
        gained = reward(before, after, self.settings.gamma, self.settings.reward_kind)
        gained = gained.masked_fill(~active, 0.0)
        return Outcome(
            self._observation, gained, ended, self._observation, after, diverged & active
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs, as plain values and tensors.

        Samples are left out: they come back from the instances' seeds.
        """
        return {
            "lanes": self._lanes.state_dict(),
            "data": self._data.state_dict(),
            "model": self._model.state_dict(),
            "optimizer": {name: slot.clone() for name, slot in self._state.items()},
            "statistics": self._statistics.state_dict(),
            "memory": dict(vars(self._memory)),
            "dropout": self._dropout.state.clone(),
            "own": {name: getattr(self, name).clone() for name in _OWN},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken, in a stack of the same task and settings."""
        self._lanes.load_state_dict(state["lanes"])
        for lane, seed in enumerate(self._lanes.seeds.tolist()):
            self._data.load(lane, self._make_task(seed), seed)
        self._data.load_state_dict(state["data"])
        self._model.load_state_dict(state["model"])
        for name, slot in state["optimizer"].items():
            self._state[name].copy_(slot)
        self._statistics.load_state_dict(state["statistics"])
        self._memory = Memory(**state["memory"])
        self._dropout.state = state["dropout"].clone()
        for name, kept in state["own"].items():
            setattr(self, name, kept.clone())

    def _begin(self, rows: Tensor) -> None:
        """Begin fresh instances in `rows`; the other lanes are not touched."""
        for lane in rows.tolist():
            self._load(lane, self._lanes.draw(lane))
        if len(rows) == self.num:
            self._dropout = IsolatedTorchRandomness(int(self._lanes.seeds[0]), "dropout")
        self._memory = self._memory.merge(self._no_memory, _mask(rows, self.num))
        for slot in self._state.values():
            slot[rows] = 0.0
        self._statistics.begin(rows, self._model.flat[rows])
        with self._dropout.use():
            self._loss[rows] = self._forward_backward(rows)
        self._initial_loss[rows] = self._evaluate(rows)
        check_start(
            self._task_name, bool(torch.isfinite(self._loss + self._initial_loss)[rows].all())
        )
        self._validation_loss[rows] = self._initial_loss[rows]
        self._z[rows] = 0.0
        self._probe(rows)

    def _load(self, lane: int, instance: Instance) -> None:
        task = self._make_task(instance.seed)
        with IsolatedTorchRandomness(instance.seed, "model").use():
            module = task.build_model().to(self.settings.dtype)
        self._model.load(lane, module)
        self._data.load(lane, task, instance.seed)

    def _probe(self, rows: Tensor) -> None:
        """Find out what the first update would change, on copies; place z where it starts."""
        flat = self._model.flat[rows]
        state = {name: slot[rows] for name, slot in self._state.items()}
        nominal = self._lanes.base_lr[rows].to(flat).unsqueeze(1).expand(-1, len(self.layers))
        updated = flat.clone()
        self._optimizer.update(
            updated,
            self._model.gradient[rows].clone(),
            state,
            self._statistics.spread(nominal),
            torch.ones_like(flat[:, :1]),
        )
        direction = self._statistics.direction_rms(updated - flat, nominal)
        self._statistics.direction[rows] = direction
        relative = relative_rates(self._read()[rows], direction, nominal, self._table)
        self._z[rows] = self.settings.envelope.start(relative)

    def _train(self, active: Tensor) -> None:
        lanes = self._lanes
        counts = decisions.intervals(lanes.step, self.settings.steps_per_action, lanes.total_steps)
        total = torch.zeros_like(self._loss)
        scales = self._z.exp2()
        counts = counts.masked_fill(~active, 0)
        for turn in range(int(counts.max())):
            # A sum that is not finite stays so: a diverged training stops.
            running = (counts > turn) & torch.isfinite(total)
            if not running.any():
                break
            rows = None if running.all() else running.nonzero().squeeze(1)
            self._update(rows, scales, last=running & (counts == turn + 1))
            losses = self._forward_backward(rows)
            total[slice(None) if rows is None else rows] += losses
        self._loss = torch.where(active, total / counts.clamp(min=1), self._loss)

    def _update(self, rows: Tensor | None, scales: Tensor, last: Tensor) -> None:
        """Update the lanes in `rows`; those in `last` are looked at by a decision next."""
        index = slice(None) if rows is None else rows
        lanes, statistics = self._lanes, self._statistics
        lr = lanes.rates(scales).unsqueeze(1) * scales
        flat, state = self._model.flat[index], self._state
        if rows is not None:
            state = {name: slot[rows] for name, slot in self._state.items()}
        before = flat.clone() if last.any() else flat
        gradient = self._model.gradient[index]
        step = (lanes.step[index] + 1).to(flat).unsqueeze(1)
        self._optimizer.update(flat, gradient, state, statistics.spread(lr[index]), step)
        if rows is not None:
            self._model.flat[rows] = flat
            for name, slot in state.items():
                self._state[name][rows] = slot
        if last.any():
            looked = last[index].nonzero().squeeze(1)
            change = flat[looked] - before[looked]
            statistics.measure(last.nonzero().squeeze(1), change, gradient[looked], lr[last])
        lanes.step[index] += 1

    def _forward_backward(self, rows: Tensor | None) -> Tensor:
        inputs, targets = self._data.next_batch(rows)
        return self._model.forward_backward(inputs, targets, rows)

    def _evaluate(self, rows: Tensor | None = None) -> Tensor:
        return self._model.evaluate(*self._data.validation(self._validation_samples, rows), rows)

    def _read(self) -> Tensor:
        step = self._lanes.step.to(self._model.flat).unsqueeze(1)
        average = self._optimizer.gradient_average(self._state, step)
        return self._statistics.read(self._model.flat, self._model.gradient, average)

    def _observe(self, rows: Tensor | None) -> Tensor:
        """Return observations; only the lanes in `rows` (all if None) remember them."""
        lanes, like = self._lanes, self._model.flat
        layers = (self.num, len(self.layers))
        epochs = lanes.step.to(like) / (self._data.train_size // self._data.batch_size)
        unknown = torch.full_like(epochs, torch.nan)
        signals = Signals(
            raw=self._read(),
            loss=self._loss,
            step=lanes.step.to(like),
            total_steps=lanes.total_steps.to(like),
            interval=decisions.intervals(
                lanes.step, self.settings.steps_per_action, lanes.total_steps
            ).to(like),
            base_lr=lanes.rates(like).unsqueeze(1).expand(layers),
            reference_lr=lanes.base_lr.to(like).unsqueeze(1).expand(layers),
            z=self._z,
            z_max=torch.full_like(epochs, self.settings.envelope.z_max),
            epochs=torch.where(lanes.sees_epochs, epochs, unknown),
            validation_loss=torch.where(lanes.sees_validation, self._validation_loss, unknown),
        )
        memory = remember(self._memory, signals)
        if rows is not None:
            memory = self._memory.merge(memory, _mask(rows, self.num))
        self._memory = memory
        return features(self._memory, signals, self._table)


def _mask(rows: Tensor, num: int) -> Tensor:
    mask = torch.zeros(num, dtype=torch.bool)
    mask[rows] = True
    return mask
