"""Blocks of lanes whose tensors fit the processor's cache."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from lr_env.stack.arithmetic import LaneArithmetic, LaneTensors
from lr_env.stack.interval import Interval, Readings
from lr_env.statistics import RAW_STATISTICS

_COMPILED_CACHE = 5 << 19
"""Bytes that a compiled block's tensors may take for each thread; found by trying."""
_EAGER_CACHE = 24 << 20
"""The same of eager blocks, whatever the threads: every operation costs its call, which few lanes
do not pay for. Of 1 to 60 MB, 16 to 30 were the fastest or level with it for three MLPs of 3,500
to 59,000 parameters, in turns on one core beside a third-level cache of 32 MB."""
_FEWEST = 8
_COPIES = 6
"""Copies of the weights that an update touches: weights, gradient, moments, rates, a result."""


class BlockRunner:
    """An `IntervalRunner` that makes the updates of one block of lanes after another.

    Args:
        arithmetic: makes them.
        spread: gives each layer's value to all its entries: `[n, L]` to `[n, P]`.
        blocks: all lanes.
    """

    def __init__(
        self, arithmetic: LaneArithmetic, spread: Callable[[Tensor], Tensor], blocks: list[slice]
    ) -> None:
        self.arithmetic, self.blocks = arithmetic, blocks
        self._spread = spread

    def run(
        self,
        interval: Interval,
        lanes: LaneTensors,
        samples: tuple[Tensor, Tensor],
        held_out: tuple[Tensor, Tensor],
    ) -> Readings:
        """See `IntervalRunner`."""
        losses = lanes.flat.new_zeros(interval.running.shape)
        validation = torch.empty_like(losses[0])
        raw = lanes.flat.new_empty((*lanes.direction.shape, len(RAW_STATISTICS)))
        for rows in self.blocks:
            spread = self._spread(interval.scales[rows])
            own = lanes.rows(rows)
            interval.run(rows, own, samples, spread, self.arithmetic, losses)
            validation[rows] = self.arithmetic.evaluate(own, *(part[rows] for part in held_out))
            raw[rows] = self.arithmetic.read(own, interval.reached[rows])
        return Readings(losses, validation, raw)


def compiled_blocks(num: int, lane_bytes: int, threads: int) -> list[slice]:
    """Return the lanes of a compiled stack in blocks, as equal as can be.

    An interval's updates are made block by block, so that memory is read once and not once an
    update. `lane_bytes` is the size of one lane's weights.
    """
    return _blocks(num, lane_bytes, threads * _COMPILED_CACHE)


def eager_blocks(num: int, lane_bytes: int) -> list[slice]:
    """Return the lanes of an eager stack in blocks: one, unless it is larger than the cache."""
    return _blocks(num, lane_bytes, _EAGER_CACHE)


def _blocks(num: int, lane_bytes: int, cache: int) -> list[slice]:
    most = max(_FEWEST, cache // (_COPIES * lane_bytes))
    count = math.ceil(num / most)
    bounds = [round(num * part / count) for part in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(bounds)]
