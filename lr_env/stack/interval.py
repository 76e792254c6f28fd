"""The updates between two decisions, for lanes that may make different numbers of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lr_env.stack.arithmetic import Batch, LaneArithmetic, LaneTensors, Move
from lr_env.stack.data import StackedData
from lr_env.stack.lanes import Lanes
from lr_env.stack.optimizers import StackedOptimizer


@dataclass(frozen=True)
class Interval:
    """All that is known of an interval's updates before they are made; T turns of N lanes.

    It lies on the trainings' device, where it is put at once: the updates themselves wait for
    nothing, and have the device wait for nothing.

    Attributes:
        counts: updates that each lane makes `[N]`, on the CPU.
        running, last: which lanes make each turn's update, and for which it is the last `[T, N]`.
        scales: the layers' factors on the rate `[N, L]`.
        rates: the base schedules' `[T, N, 1]`.
        factors: the optimizer's `[T, N, K]`.
        reached: the optimizer's at the end `[N, K]`.
        batches: rows of the training samples `[T, N, B]`.
    """

    counts: Tensor
    running: Tensor
    last: Tensor
    scales: Tensor
    rates: Tensor
    factors: Tensor
    reached: Tensor
    batches: Tensor

    @classmethod
    def plan(
        cls,
        counts: Tensor,
        scales: Tensor,
        lanes: Lanes,
        data: StackedData,
        optimizer: StackedOptimizer,
    ) -> Interval:
        """Look up rates and draw batches; lanes draw as many as they make updates.

        `counts [N]` are on the CPU, `scales [N, L]` on the trainings' device.
        """
        turns = range(max(1, int(counts.max())))
        like = torch.empty(0, dtype=scales.dtype)
        made = torch.arange(1, len(turns) + 1).unsqueeze(1)

        def factors(steps: Tensor) -> Tensor:
            return optimizer.factors(steps.to(like).unsqueeze(1))

        coming = factors((lanes.step + made).flatten())
        own = {
            "running": counts >= made,
            "last": counts == made,
            "rates": lanes.coming_rates(like, len(turns)).unsqueeze(2),
            "factors": coming.view(len(turns), len(counts), coming.shape[1]),
            "reached": factors((lanes.step + counts).clamp(min=1)),
            "batches": torch.stack([data.next_index(counts > turn) for turn in turns]),
        }
        there = {name: tensor.to(scales.device) for name, tensor in own.items()}
        return cls(counts=counts, scales=scales, **there)

    def run(
        self,
        rows: slice,
        lanes: LaneTensors,
        samples: tuple[Tensor, Tensor],
        spread: Tensor,
        arithmetic: LaneArithmetic,
        losses: Tensor,
    ) -> None:
        """Make the updates of the lanes in `rows`, and write their losses into `[T, N]`.

        `lanes` are those in `rows`, `samples` all lanes' training samples, `spread [n, P]` the
        rows' scales by entry.
        """
        scales, counts = self.scales[rows], self.counts[rows].tolist()
        for turn in range(max(counts)):
            move = Move(
                scales=scales,
                spread=spread,
                rate=self.rates[turn, rows],
                factors=self.factors[turn, rows],
                running=None if turn < min(counts) else self.running[turn, rows],
                last=self.last[turn, rows],
            )
            batch = Batch(*samples, self.batches[turn, rows])
            losses[turn, rows] = arithmetic.step(lanes, move, batch, turn + 1 in counts)

    def means(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean losses and numbers of updates `[N]`, both up to a loss that is not finite.

        A training diverges with the first such loss: what came after it did not happen.
        """
        sums = torch.where(self.running, losses, 0.0).cumsum(0)
        finite = torch.isfinite(sums)
        before = torch.cat([torch.ones_like(finite[:1]), finite[:-1]])
        counts = self.running.sum(0).clamp(min=1)
        return sums[-1] / counts, (self.running & before).sum(0)


class Readings(NamedTuple):
    """What an interval's updates came to, lane by lane.

    Fields: losses: of every turn's mini-batch after its update `[T, N]`; validation: losses on
    held-out samples `[N]`; raw: statistics `[N, L, R]`, columns as in `RAW_STATISTICS`.
    """

    losses: Tensor
    validation: Tensor
    raw: Tensor


class IntervalRunner(Protocol):
    """What makes an interval's updates."""

    def run(
        self,
        interval: Interval,
        lanes: LaneTensors,
        samples: tuple[Tensor, Tensor],
        held_out: tuple[Tensor, Tensor],
    ) -> Readings:
        """Update all lanes in place.

        `samples` are all lanes' training samples, one after another, `held_out` those that they
        are evaluated on `[N, m, ...]`.
        """
