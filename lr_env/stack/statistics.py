"""Raw statistics `[N, L, R]` of stacked trainings, by reductions over flat matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lr_env.layers import Layer


class StackedStatistics:
    """The twin of `lr_env.statistics.LayerStatistics` for flat `[N, P]` tensors."""

    def __init__(self, layers: Sequence[Layer], like: Tensor) -> None:
        sizes = torch.tensor([layer.size for layer in layers])
        self.layer_of = torch.repeat_interleave(torch.arange(len(layers)), sizes)
        self._membership = torch.nn.functional.one_hot(self.layer_of).to(like.dtype)
        self.initial = torch.zeros_like(like)
        self.update = torch.zeros_like(like)
        shape = (len(like), len(layers))
        self.direction = like.new_zeros(shape)
        self.previous_dot = like.new_zeros(shape)

    def begin(self, rows: Tensor, flat: Tensor) -> None:
        """Forget the trainings in `rows`; `flat [rows, P]` are their initial weights."""
        self.initial[rows] = flat
        for kept in (self.update, self.direction, self.previous_dot):
            kept[rows] = 0.0

    def measure(self, rows: Tensor, change: Tensor, gradient: Tensor, lr: Tensor) -> None:
        """Take in the update `change [rows, P]` that `gradient` made at rates `lr [rows, L]`."""
        self.update[rows] = change
        self.previous_dot[rows] = self.per_layer(gradient * change)
        self.direction[rows] = self.direction_rms(change, lr)

    def direction_rms(self, change: Tensor, lr: Tensor) -> Tensor:
        """Return the rms of `change` over its non-zero entries per unit of rate `[rows, L]`."""
        moved = self.per_layer((change != 0).to(change.dtype)).clamp(min=1)
        rms = (self.per_layer(change * change) / moved).sqrt()
        return torch.where(lr > 0, rms / lr, torch.zeros_like(rms))

    def read(self, flat: Tensor, gradient: Tensor, average: Tensor | None) -> Tensor:
        """Return the raw statistics `[N, L, R]`, columns as in `RAW_STATISTICS`."""
        distance = flat - self.initial
        momentum = torch.zeros_like(self.direction)
        if average is not None:
            momentum = self.per_layer(average * average)
        return torch.stack([
            self.per_layer(flat * flat),
            self.per_layer(distance * distance),
            self.per_layer(gradient * gradient),
            momentum,
            self.direction,
            self.per_layer(gradient * self.update),
            self.previous_dot,
        ], -1)  # fmt: skip

    def per_layer(self, values: Tensor) -> Tensor:
        """Return sums over each layer's entries: `[N, P]` to `[N, L]`."""
        return values @ self._membership

    def spread(self, values: Tensor) -> Tensor:
        """Return each layer's value at all its entries: `[N, L]` to `[N, P]`."""
        return values.index_select(1, self.layer_of)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what is remembered of the trainings."""
        return {
            "initial": self.initial.clone(),
            "update": self.update.clone(),
            "direction": self.direction.clone(),
            "previous_dot": self.previous_dot.clone(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        for name, value in state.items():
            getattr(self, name).copy_(value)
