"""A stack: N trainings of one architecture that step together, each at its own pace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lr_env import decisions
from lr_env.action import Envelope
from lr_env.instances import BaseRate, Instance, check_base_lr
from lr_env.layers import LayerTable, group_layers
from lr_env.observation import Memory, Signals, features, relative_rates, remember
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.reward import RewardKind, check_reward, potential, reward
from lr_env.stack.data import StackedData
from lr_env.stack.lanes import Lanes
from lr_env.stack.model import StackedModel
from lr_env.stack.optimizers import State, build_stacked_optimizer
from lr_env.stack.statistics import StackedStatistics
from lr_env.tasks.tensor_task import TensorTask

TaskFactory = Callable[[int], TensorTask]

_OWN = ("_z", "_loss", "_initial_loss", "_validation_loss", "_observation")


@dataclass(frozen=True)
class StackSettings:
    """What all trainings of a stack share, and the ranges that each draws from.

    Attributes:
        optimizer: `adam`, `adamw`, `rmsprop` or `sgd`.
        optimizer_arguments: handed on to it.
        base_lr: base rate, or the range that it is drawn from log-uniformly.
        schedules: names of base schedules to draw from.
        total_steps: mini-batches of a training, or a range (low, high) drawn log-uniformly.
        steps_per_action: mini-batches from decision to decision.
        batch_size: mini-batch size; the task's own if None.
        envelope: how actions move the scales.
        reward_kind: `potential` or `progress`.
        gamma: discount that the potential is shaped with.
        validation_samples: validation samples that the reward is measured on.
        validation_seen: share of trainings that observe their validation loss.
        epochs_seen: share of trainings that observe their passes over the data.
        dtype: of the trainings.
    """

    optimizer: str = "adam"
    optimizer_arguments: Mapping[str, Any] = field(default_factory=dict)
    base_lr: BaseRate = 1e-3
    schedules: tuple[str, ...] = ("constant",)
    total_steps: int | tuple[int, int] = 500
    steps_per_action: int = 5
    batch_size: int | None = None
    envelope: Envelope = field(default_factory=Envelope)
    reward_kind: RewardKind = "potential"
    gamma: float = 0.99
    validation_samples: int = 256
    validation_seen: float = 0.0
    epochs_seen: float = 1.0
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Outcome:
    """What one decision of every lane led to.

    Attributes:
        observation: `[N, L, F]`, of the fresh training where one ended.
        reward: `[N]`.
        terminated: `[N]` bool; budget used up, or diverged.
        final_observation: `[N, L, F]`, the last of a training that ended.
        potential: `[N]`, before any lane was begun anew.
        diverged: `[N]` bool.
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
        self.num = num
        self.settings = settings
        self._make_task = task
        first = task(0)
        with IsolatedTorchRandomness(0, "model").use():
            template = first.build_model().to(settings.dtype)
        self.layers = group_layers(template, first.is_pretrained)
        self._data = StackedData(
            first, num, settings.batch_size or first.batch_size, settings.dtype
        )
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
        self._observation = self._model.flat.new_zeros(())

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
    def validation_loss(self) -> Tensor:
        """The latest validation loss of every lane `[N]`."""
        return self._validation_loss.clone()

    def reset(self, seed: int | None = None) -> Tensor:
        """Begin all trainings anew, lane i seeded with `seed + i`; return `[N, L, F]`."""
        if seed is not None:
            self._lanes.seed(seed)
        self._begin(torch.arange(self.num))
        self._observation = self._observe(torch.arange(self.num))
        return self._observation

    def step(self, action: Tensor) -> Outcome:
        """Take one decision `[N, L]` in every lane, and train to the next one."""
        before = self.potential
        self._z = self.settings.envelope.move(self._z, action.to(self._z))
        self._train()
        loss = self._evaluate()
        diverged = ~torch.isfinite(loss + self._loss)
        self._validation_loss = loss.masked_fill(diverged, torch.nan)
        after = self.potential
        observed = self._observe(None)
        last = torch.where(diverged.view(-1, 1, 1), self._observation, observed)
        ended = diverged | (self._lanes.step >= self._lanes.total_steps)
        self._observation = last
        if ended.any():
            rows = ended.nonzero().squeeze(1)
            self._begin(rows)
            fresh = self._observe(rows)
            self._observation = torch.where(ended.view(-1, 1, 1), fresh, last)
        gained = reward(before, after, self.settings.gamma, self.settings.reward_kind)
        return Outcome(self._observation, gained, ended, last, after, diverged)

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
        for name, kept in state["own"].items():
            setattr(self, name, kept.clone())

    def _begin(self, rows: Tensor) -> None:
        """Begin fresh instances in `rows`; the other lanes are not touched."""
        for lane in rows.tolist():
            instance = self._lanes.draw(lane)
            self._load(lane, instance)
        self._memory = self._memory.merge(self._no_memory, _mask(rows, self.num))
        for slot in self._state.values():
            slot[rows] = 0.0
        self._statistics.begin(rows, self._model.flat[rows])
        self._loss[rows] = self._forward_backward(rows)
        self._initial_loss[rows] = self._evaluate()[rows]
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

    def _train(self) -> None:
        lanes = self._lanes
        counts = decisions.intervals(lanes.step, self.settings.steps_per_action, lanes.total_steps)
        total = torch.zeros_like(self._loss)
        scales = self._z.exp2()
        for turn in range(int(counts.max())):
            active = counts > turn
            rows = None if active.all() else active.nonzero().squeeze(1)
            self._update(rows, scales, last=counts == turn + 1)
            losses = self._forward_backward(rows)
            total[slice(None) if rows is None else rows] += losses
        self._loss = total / counts

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

    def _evaluate(self) -> Tensor:
        return self._model.evaluate(*self._data.validation(self.settings.validation_samples))

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
