"""Rows of different lengths end to end in one tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """`n` rows: row `i` is `values[ends[i]:ends[i + 1]]`; `ends` `[n + 1]` begins with 0."""

    values: Tensor
    ends: Tensor

    @classmethod
    def of(cls, rows: Iterable[NDArray[np.generic]]) -> Ragged:
        """Return the rows, one-dimensional arrays of one dtype, at least one."""
        parts = list(rows)
        ends = np.cumsum([0, *(len(own) for own in parts)])
        return cls(torch.from_numpy(np.concatenate(parts)), torch.from_numpy(ends))

    @classmethod
    def named(cls, tensors: Mapping[str, Tensor], name: str) -> Ragged:
        """Return the rows that `tensors(name)` names."""
        return cls(tensors[name], tensors[f"{name}_ends"])

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the two tensors by names that `named` finds again."""
        return {name: self.values, f"{name}_ends": self.ends}

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, row: int) -> Tensor:
        return self.values[self.ends[row] : self.ends[row + 1]]

    def lengths(self) -> Tensor:
        """Return the length of each row `[n]`."""
        return self.ends.diff()

    def select(self, rows: Tensor) -> Ragged:
        """Return a copy of these rows alone."""
        return Ragged.of(self[row].numpy() for row in rows.tolist())

    def padded(self, rows: Tensor, fill: int, multiple: int) -> tuple[Tensor, Tensor]:
        """Return these rows as `[n, width]` of int64, and a mask of what is no filling.

        The width is that of the longest row, rounded up to a multiple of `multiple`.
        """
        lengths = self.lengths()[rows]
        width = -(-int(lengths.max()) // multiple) * multiple
        mask = torch.arange(width) < lengths[:, None]
        values = torch.full(mask.shape, fill, dtype=torch.int64)
        values[mask] = torch.cat([self[row] for row in rows.tolist()]).long()
        return values, mask.long()
