"""Trials: the same trainings from several base rates, side by side in one stack."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lr_env.layers import Layer
from lr_env.stack import Stack, StackSettings, TaskFactory

Pilot = Callable[[Stack], Tensor]
"""Decides for all lanes of a stack: returns actions `[N, L]`."""


@dataclass(frozen=True)
class Trial:
    """How trainings from R base rates with S seeds ended.

    Attributes:
        loss: final loss on the whole validation split `[R, S]`, float64; NaN where it diverged.
        initial_loss: the validation loss that they began with `[R, S]`.
        diverged: whether a loss was not finite `[R, S]`.
        start: log2 of the layers' rates before the first decision `[R, S, L]`, the envelope's own
            schedule left out.
        rates: the same after every decision `[D, R, S, L]`.
        steps: updates made before every decision `[D]`.
        layers: of the network.
    """

    loss: Tensor
    initial_loss: Tensor
    diverged: Tensor
    start: Tensor
    rates: Tensor
    steps: Tensor
    layers: tuple[Layer, ...]

    def mean_rates(self, total_steps: int) -> Tensor:
        """Return every layer's mean log2 rate over the updates of its training `[R, S, L]`."""
        ends = torch.cat([self.steps[1:], torch.tensor([total_steps])])
        weights = (ends - self.steps).to(self.rates) / total_steps
        mean: Tensor = torch.tensordot(weights, self.rates, 1)
        return mean


def run_trial(
    task: TaskFactory,
    settings: StackSettings,
    rates: Sequence[float],
    seeds: Sequence[int],
    pilot: Pilot,
) -> Trial:
    """Train from every rate with every seed; equal seeds are equal instances at all rates.

    `settings` has a fixed horizon; its base rate is not used.
    """
    shape = (len(rates), len(seeds))
    settings = replace(settings, lane_rates=tuple(rate for rate in rates for _ in seeds))
    # An instance serves all rates: its data are not changed by training.
    stack = Stack(functools.cache(task), shape[0] * shape[1], settings)
    active = torch.ones(stack.num, dtype=torch.bool)
    stack.begin(active, list(seeds) * len(rates))
    diverged = torch.zeros_like(active)
    base = stack.base_lr.to(stack.scales).log2().unsqueeze(1)
    start, trace, steps = base + stack.scales, [], []
    while active.any():
        steps.append(int(stack.steps.max()))
        outcome = stack.advance(pilot(stack), active)
        trace.append(base + stack.scales)
        diverged |= outcome.diverged
        active &= ~outcome.terminated
    loss = stack.whole_validation_loss().double()
    diverged |= ~torch.isfinite(loss)
    return Trial(
        loss=loss.masked_fill(diverged, torch.nan).view(shape),
        initial_loss=stack.initial_loss.double().view(shape),
        diverged=diverged.view(shape),
        start=start.view(*shape, -1),
        rates=torch.stack(trace).view(len(trace), *shape, -1),
        steps=torch.tensor(steps),
        layers=tuple(stack.layers),
    )
