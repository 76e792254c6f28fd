"""A stack: N trainings of one architecture that step together, each at its own pace."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
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
from lr_env.stack.arithmetic import EagerArithmetic, LaneArithmetic, LaneTensors
from lr_env.stack.blocks import blocks_of
from lr_env.stack.compiled import CompiledArithmetic
from lr_env.stack.data import StackedData
from lr_env.stack.interval import Interval
from lr_env.stack.lanes import Lanes
from lr_env.stack.model import StackedModel
from lr_env.stack.optimizers import build_stacked_optimizer
from lr_env.stack.settings import StackSettings
from lr_env.statistics import RAW_STATISTICS
from lr_env.tasks.tensor_task import TensorTask

TaskFactory = Callable[[int], TensorTask]

_OWN = ("_z", "_raw", "_loss", "_initial_loss", "_validation_loss", "_observation")


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


@dataclass(frozen=True)
class Figures:
    """What a stack tells of its lanes `[N]`; see the properties of the same names.

    Attributes: observation `[N, L, F]`, learning_rates `[N, L]`, all others `[N]`.
    """

    observation: Tensor
    learning_rates: Tensor
    steps: Tensor
    base_lr: Tensor
    train_loss: Tensor
    validation_loss: Tensor
    initial_loss: Tensor


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
        _check_lane_rates(settings.lane_rates, num)
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
        self._validation_size = first.size("validation")
        self._model = StackedModel(template, first.loss_from_outputs)
        self._optimizer = build_stacked_optimizer(settings.optimizer, settings.optimizer_arguments)
        flat = torch.zeros((num, self._model.size), dtype=settings.dtype)
        rows = (num, len(self.layers))
        self._tensors = LaneTensors(
            flat=flat,
            gradient=torch.zeros_like(flat),
            state=self._optimizer.init(flat),
            buffers=self._model.buffers(num),
            initial=torch.zeros_like(flat),
            update=torch.zeros_like(flat),
            direction=flat.new_zeros(rows),
            previous_dot=flat.new_zeros(rows),
        )
        self._eager = EagerArithmetic(self._model, self._optimizer, self.layers)
        arithmetic: LaneArithmetic = self._eager
        self._blocks = [slice(0, num)]
        if settings.compile:
            threads = torch.get_num_threads()
            arithmetic = CompiledArithmetic(self._eager, threads)
            self._blocks = blocks_of(num, flat[0].nbytes, threads)
        self._arithmetic = arithmetic
        self._table = LayerTable.of(self.layers, settings.dtype)
        self._lanes = Lanes(num, settings)
        self._memory = Memory.empty((num,), len(self.layers), flat)
        self._raw = flat.new_zeros((*rows, len(RAW_STATISTICS)))
        self._z = flat.new_zeros(rows)
        self._loss = flat.new_zeros(num)
        self._initial_loss = flat.new_ones(num)
        self._validation_loss = flat.new_ones(num)
        self._observation = flat.new_zeros((*rows, len(FEATURES)))
        self._dropout = IsolatedTorchRandomness(0, "dropout")

    @property
    def figures(self) -> Figures:
        """What there is to tell of the lanes now."""
        return Figures(**{field.name: getattr(self, field.name) for field in fields(Figures)})

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
        return self._lanes.rates(self._z).unsqueeze(1) * self._z.exp2()

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

    def whole_validation_loss(self) -> Tensor:
        """Return every lane's loss on its whole validation split `[N]`, in eval mode."""
        own = self._tensors
        inputs, targets = self._data.validation(self._validation_size, slice(None))
        # In parts: all lanes' activations on thousands of samples would not fit in a cache.
        parts = zip(torch.split(inputs, 256, 1), torch.split(targets, 256, 1), strict=True)
        losses = [self._model.evaluate(own.flat, own.buffers, x, y) * y.shape[1] for x, y in parts]
        return torch.stack(losses).sum(0) / self._validation_size

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
        self._observation = self._observation.clone()
        self._observation[rows] = self._observe(rows)
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
        before = self.potential
        moved = self.settings.envelope.move(self._z, action.to(self._z))
        self._z = torch.where(active.unsqueeze(1), moved, self._z)
        with self._dropout.use():
            loss, validation = self._train(active)
        diverged = active & ~torch.isfinite(loss + validation)
        validation = validation.masked_fill(diverged, torch.nan)
        self._validation_loss = torch.where(active, validation, self._validation_loss)
        self._loss = torch.where(active & ~diverged, loss, self._loss)
        after = self.potential
        seen = (active & ~diverged).nonzero().squeeze(1)
        self._observation = self._observation.clone()
        self._observation[seen] = self._observe(seen)
        ended = diverged | (active & (self._lanes.step >= self._lanes.total_steps))
        gained = reward(before, after, self.settings.gamma, self.settings.reward_kind)
        gained = gained.masked_fill(~active, 0.0)
        return Outcome(self._observation, gained, ended, self._observation, after, diverged)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs, as plain values and tensors.

        Samples are left out: they come back from the instances' seeds.
        """
        return {
            "lanes": self._lanes.state_dict(),
            "data": self._data.state_dict(),
            "tensors": {name: own.clone() for name, own in self._tensors.named().items()},
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
        for name, own in self._tensors.named().items():
            own.copy_(state["tensors"][name])
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
        tensors = self._tensors
        tensors.initial[rows] = tensors.flat[rows]
        forgotten = (tensors.update, tensors.direction, tensors.previous_dot)
        for kept in (*forgotten, *tensors.state.values()):
            kept[rows] = 0.0
        buffers = {name: own[rows] for name, own in tensors.buffers.items()}
        with self._dropout.use():
            losses, gradient = self._model.differentiate(
                tensors.flat[rows], buffers, *self._data.next_batch(rows)
            )
        tensors.gradient[rows] = gradient
        for name, own in buffers.items():
            tensors.buffers[name][rows] = own
        validation = self._data.validation(self._validation_samples, rows)
        initial = self._model.evaluate(tensors.flat[rows], buffers, *validation)
        check_start(self._task_name, bool(torch.isfinite(losses + initial).all()))
        self._loss[rows] = losses
        self._initial_loss[rows] = initial
        self._validation_loss[rows] = initial
        self._probe(rows)
        empty = Memory.empty((len(rows),), len(self.layers), self._z)
        self._memory = self._memory.put(rows, empty)

    def _load(self, lane: int, instance: Instance) -> None:
        task = self._make_task(instance.seed)
        with IsolatedTorchRandomness(instance.seed, "model").use():
            module = task.build_model().to(self.settings.dtype)
        self._tensors.flat[lane] = self._model.flatten(module)
        for name, buffer in module.named_buffers():
            self._tensors.buffers[name][lane] = buffer
        self._data.load(lane, task, instance.seed)

    def _probe(self, rows: Tensor) -> None:
        """Find out what the first update would change, on copies; place z where it starts."""
        lanes = self._tensors.rows(rows)
        nominal = self._lanes.reference(self._z)[rows].unsqueeze(1).expand(-1, len(self.layers))
        first = self._optimizer.factors(torch.ones_like(nominal[:, :1]))
        updated = lanes.flat.clone()
        self._optimizer.update(
            updated,
            lanes.gradient.clone(),
            {name: own.clone() for name, own in lanes.state.items()},
            self._eager.spread(nominal),
            first,
        )
        direction = self._eager.direction_rms(updated - lanes.flat, nominal)
        self._tensors.direction[rows] = direction
        raw = self._eager.read(lanes._replace(direction=direction), first)
        self._raw[rows] = raw
        relative = relative_rates(raw, direction, nominal, self._table)
        self._z[rows] = self.settings.envelope.start(relative)

    def _train(self, active: Tensor) -> tuple[Tensor, Tensor]:
        """Make the interval's updates; return mean training and validation losses `[N]`."""
        lanes = self._lanes
        counts = decisions.intervals(lanes.step, self.settings.steps_per_action, lanes.total_steps)
        interval = Interval.plan(
            counts.masked_fill(~active, 0), self._z.exp2(), lanes, self._data, self._optimizer
        )
        made = lanes.step + interval.counts
        factors = self._optimizer.factors(made.clamp(min=1).to(self._z).unsqueeze(1))
        losses = self._z.new_zeros((len(interval.rates), self.num))
        validation = self._validation_loss.clone()
        samples = self._data.train_samples
        for rows in self._blocks:
            spread = self._eager.spread(interval.scales[rows])
            own = self._tensors.rows(rows)
            interval.run(rows, own, samples, spread, self._arithmetic, losses)
            held_out = self._data.validation(self._validation_samples, rows)
            validation[rows] = self._arithmetic.evaluate(own, *held_out)
            self._raw[rows] = self._arithmetic.read(own, factors[rows])
        mean, updates = interval.outcome(losses)
        lanes.step += updates
        return mean, validation

    def _observe(self, rows: Tensor) -> Tensor:
        """Return the observations of the lanes in `rows` `[rows, L, F]`; they remember them."""
        lanes, like = self._lanes, self._z
        step = lanes.step[rows].to(like)
        epochs = step / (self._data.train_size // self._data.batch_size)
        unknown = torch.full_like(epochs, torch.nan)
        layers = (len(rows), len(self.layers))
        interval = decisions.intervals(
            lanes.step, self.settings.steps_per_action, lanes.total_steps
        )
        signals = Signals(
            raw=self._raw[rows],
            loss=self._loss[rows],
            step=step,
            total_steps=lanes.total_steps[rows].to(like),
            interval=interval[rows].to(like),
            base_lr=lanes.rates(like)[rows].unsqueeze(1).expand(layers),
            reference_lr=lanes.reference(like)[rows].unsqueeze(1).expand(layers),
            z=self._z[rows],
            z_max=torch.full_like(epochs, self.settings.envelope.z_max),
            epochs=torch.where(lanes.sees_epochs[rows], epochs, unknown),
            validation_loss=torch.where(
                lanes.sees_validation[rows], self._validation_loss[rows], unknown
            ),
        )
        memory = remember(self._memory.take(rows), signals)
        self._memory = self._memory.put(rows, memory)
        return features(memory, signals, self._table)


def _check_lane_rates(rates: tuple[float, ...] | None, num: int) -> None:
    if rates is not None and len(rates) != num:
        raise InvalidArgumentError(
            f"lane_rates holds a rate for each of the {num} lanes, not {len(rates)}."
        )
    for rate in rates or ():
        check_base_lr(rate)
