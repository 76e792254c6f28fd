"""What one update does to some lanes of a stack, as functions of their tensors alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lr_env.stack.model import Buffers, StackedModel
from lr_env.stack.optimizers import StackedOptimizer, State
from lr_env.statistics import DRY_RUN


class LaneTensors(NamedTuple):
    """All that changes in n trainings; blocks of lanes are views of it.

    Fields: flat, gradient: weights and pending gradient `[n, P]`; state: the optimizer's;
    buffers: the models'; initial: weights at the start `[n, P]`; update: the last looked-at
    change of the weights `[n, P]`; direction: its rms per unit of rate `[n, L]`; previous_dot:
    its product with the gradient that made it `[n, L]`.
    """

    flat: Tensor
    gradient: Tensor
    state: State
    buffers: Buffers
    initial: Tensor
    update: Tensor
    direction: Tensor
    previous_dot: Tensor

    @classmethod
    def fresh(cls, flat: Tensor, state: State, buffers: Buffers, layers: int) -> LaneTensors:
        """Return lanes of so many layers that have made no update from weights `flat`."""
        rows = (len(flat), layers)
        return cls(
            flat=flat,
            gradient=torch.zeros_like(flat),
            state=state,
            buffers=buffers,
            initial=flat.clone(),
            update=torch.zeros_like(flat),
            direction=flat.new_zeros(rows),
            previous_dot=flat.new_zeros(rows),
        )

    def rows(self, rows: slice | Tensor) -> LaneTensors:
        """Return the lanes in `rows`: views of a slice, copies of listed lanes."""
        return self.of([own[rows] for own in self.leaves()])

    def named(self) -> dict[str, Tensor]:
        """Return all tensors by name, in a fixed order."""
        flat, gradient, state, buffers, *rest = self
        return {
            "flat": flat,
            "gradient": gradient,
            **dict(zip(("initial", "update", "direction", "previous_dot"), rest, strict=True)),
            **{f"state.{name}": own for name, own in state.items()},
            **{f"buffers.{name}": own for name, own in buffers.items()},
        }

    def leaves(self) -> list[Tensor]:
        """Return all tensors in the order of `named`."""
        return list(self.named().values())

    def of(self, leaves: Sequence[Tensor]) -> LaneTensors:
        """Return lanes of the same kind made of `leaves`, in that order."""
        flat, gradient, initial, update, direction, previous_dot, *rest = leaves
        state = dict(zip(self.state, rest, strict=False))
        buffers = dict(zip(self.buffers, rest[len(state) :], strict=True))
        return LaneTensors(flat, gradient, state, buffers, initial, update, direction, previous_dot)


class Move(NamedTuple):
    """The update that lanes make next.

    Fields: scales `[n, L]` and spread `[n, P]`: the layers' factors on the rate, and the same
    entry by entry; rate `[n, 1]`: the base schedule's; factors `[n, K]`: the optimizer's;
    running `[n]`: which lanes make it (None: all); last `[n]`: in which a decision comes next.
    """

    scales: Tensor
    spread: Tensor
    rate: Tensor
    factors: Tensor
    running: Tensor | None
    last: Tensor

    def leaves(self) -> list[Tensor]:
        """Return all tensors that there are."""
        return [own for own in self if own is not None]

    def of(self, leaves: Sequence[Tensor]) -> Move:
        """Return a move of the same kind made of `leaves`, in the order of `leaves()`."""
        scales, spread, rate, factors, *running, last = leaves
        return Move(scales, spread, rate, factors, running[0] if running else None, last)


class Batch(NamedTuple):
    """Mini-batches: all lanes' samples, inputs `[S, ...]`, targets `[S]`; their places `[n, B]`."""

    inputs: Tensor
    targets: Tensor
    places: Tensor


class LaneArithmetic(Protocol):
    """The three hot functions of a stack: eager, compiled or captured."""

    def step(self, lanes: LaneTensors, move: Move, batch: Batch, looked: bool) -> Tensor:
        """Update the lanes in place, then compute their next gradients; return losses `[n]`.

        With `looked`, what the update changes is measured in the lanes of `move.last`.
        """

    def evaluate(self, lanes: LaneTensors, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return losses `[n]` in eval mode on `inputs [n, m, ...]`, `targets [n, m]`."""

    def read(self, lanes: LaneTensors, factors: Tensor) -> Tensor:
        """Return the raw statistics `[n, L, R]`, columns as in `RAW_STATISTICS`."""


class EagerArithmetic:
    """The arithmetic itself; the others are made from it.

    Args:
        model, optimizer: the trainings'.
        sizes: of their layers, in entries.
    """

    def __init__(
        self, model: StackedModel, optimizer: StackedOptimizer, sizes: Sequence[int]
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._sizes = list(sizes)

    def step(self, lanes: LaneTensors, move: Move, batch: Batch, looked: bool) -> Tensor:
        """See `LaneArithmetic`."""
        self.update(lanes, move, looked)
        changing = [lanes.gradient, *lanes.buffers.values()]
        with _restored(changing, move.running):
            losses, gradient = self._model.differentiate(
                lanes.flat, lanes.buffers, *_gather(batch, len(lanes.flat))
            )
            lanes.gradient.copy_(gradient)
        return losses

    @torch.no_grad()
    def update(self, lanes: LaneTensors, move: Move, looked: bool) -> None:
        """Make the first half of a step: change weights and the optimizer's state."""
        before = lanes.flat.clone() if looked else lanes.flat
        with _restored([lanes.flat, *lanes.state.values()], move.running):
            lr = move.spread * move.rate
            self._optimizer.update(lanes.flat, lanes.gradient, lanes.state, lr, move.factors)
            if looked:
                self._look(lanes, lanes.flat - before, move)

    def evaluate(self, lanes: LaneTensors, inputs: Tensor, targets: Tensor) -> Tensor:
        """See `LaneArithmetic`."""
        return self._model.evaluate(lanes.flat, lanes.buffers, inputs, targets)

    @torch.no_grad()
    def read(self, lanes: LaneTensors, factors: Tensor) -> Tensor:
        """See `LaneArithmetic`; the twin of `lr_env.statistics.LayerStatistics.read`."""
        distance = lanes.flat - lanes.initial
        average = self._optimizer.gradient_average(lanes.state, factors)
        momentum = torch.zeros_like(lanes.direction)
        if average is not None:
            momentum = self.per_layer(average * average)
        return torch.stack([
            self.per_layer(lanes.flat * lanes.flat),
            self.per_layer(distance * distance),
            self.per_layer(lanes.gradient * lanes.gradient),
            momentum,
            lanes.direction,
            self.per_layer(lanes.gradient * lanes.update),
            lanes.previous_dot,
        ], -1)  # fmt: skip

    def foresee(self, lanes: LaneTensors, rates: Tensor) -> tuple[Tensor, Tensor]:
        """Return direction `[n, L]` and raw statistics `[n, L, R]` of an update not made.

        It is the last of `DRY_RUN` updates from the same weights by the same gradient, weight
        decay left out; `rates [n, L]` are those that it is thought to be made with.
        """
        one = torch.ones_like(rates[:, :1])
        spread = self.spread(rates)
        state = {name: own.clone() for name, own in lanes.state.items()}
        optimizer = self._optimizer.without_decay()
        for step in range(1, DRY_RUN + 1):
            updated = lanes.flat.clone()
            factors = optimizer.factors(step * one)
            optimizer.update(updated, lanes.gradient.clone(), state, spread, factors)
        direction = self.direction_rms(updated - lanes.flat, rates)
        first = self._optimizer.factors(one)
        return direction, self.read(lanes._replace(direction=direction), first)

    def per_layer(self, values: Tensor) -> Tensor:
        """Return sums over each layer's entries: `[n, P]` to `[n, L]`."""
        return torch.stack([own.sum(1) for own in torch.split(values, self._sizes, 1)], 1)

    def spread(self, values: Tensor) -> Tensor:
        """Return each layer's value at all its entries: `[n, L]` to `[n, P]`."""
        entries = values.new_empty((len(values), self._model.size))
        for part, value in zip(torch.split(entries, self._sizes, 1), values.unbind(1), strict=True):
            part.copy_(value.unsqueeze(1))
        return entries

    def direction_rms(self, change: Tensor, rates: Tensor) -> Tensor:
        """Return the rms of `change` over its non-zero entries per unit of rate `[n, L]`."""
        moved = self.per_layer((change != 0).to(change.dtype)).clamp(min=1)
        rms = (self.per_layer(change * change) / moved).sqrt()
        return torch.where(rates > 0, rms / rates, torch.zeros_like(rms))

    def _look(self, lanes: LaneTensors, change: Tensor, move: Move) -> None:
        """Remember what the update changed, in the lanes where a decision comes next."""
        last = move.last.unsqueeze(1)
        direction = self.direction_rms(change, move.scales * move.rate)
        dot = self.per_layer(lanes.gradient * change)
        lanes.update.copy_(torch.where(last, change, lanes.update))
        lanes.direction.copy_(torch.where(last, direction, lanes.direction))
        lanes.previous_dot.copy_(torch.where(last, dot, lanes.previous_dot))


def _gather(batch: Batch, num: int) -> tuple[Tensor, Tensor]:
    index = batch.places.flatten()
    shape = (num, batch.places.shape[1])
    return (
        batch.inputs.index_select(0, index).view(*shape, *batch.inputs.shape[1:]),
        batch.targets.index_select(0, index).view(*shape, *batch.targets.shape[1:]),
    )


@contextmanager
def _restored(changing: Sequence[Tensor], running: Tensor | None) -> Iterator[None]:
    """Let the lanes of `running` `[n]` (None: all) keep what is done to them, and no others."""
    if running is None:
        yield
        return
    kept = [own.clone() for own in changing]
    yield
    for tensor, before in zip(changing, kept, strict=True):
        still = running.view(-1, *[1] * (tensor.ndim - 1))
        tensor.copy_(torch.where(still, tensor, before))
