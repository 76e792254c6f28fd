"""Who decides in a trial: a policy (controls are some), nobody, or a fixed schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lr_env.layers import Layer
from lr_env.meta_test.trial import Pilot, Trial
from lr_env.policy import FrozenPolicy
from lr_env.stack import Stack

_PLACES = np.linspace(0.0, 1.0, 51)
"""Shares of the budget at which averaged schedules are known."""
Schedule = Mapping[str, Sequence[float]]
"""Octaves above the start by kind of layer, at these shares of the budget."""


def hold(stack: Stack) -> Tensor:
    """Change nothing."""
    return torch.zeros(stack.num, len(stack.layers))


def follow(policy: FrozenPolicy) -> Pilot:
    """Let the policy decide."""
    return lambda stack: policy.act(stack.observation)


def held_rates(log2_rates: Tensor) -> Pilot:
    """Hold every layer at its own rate `[N, L]`; for a residual envelope and a constant base."""

    def act(stack: Stack) -> Tensor:
        base = stack.base_lr.log2().unsqueeze(1)
        return (log2_rates - base) / stack.settings.envelope.z_max

    return act


def replay(schedule: Schedule) -> Pilot:
    """Replay an averaged schedule from each layer's own start; for a residual envelope."""
    start: dict[int, Tensor] = {}

    def act(stack: Stack) -> Tensor:
        if not start:
            start[0] = stack.scales
        progress = float(stack.steps.max()) / float(_horizon(stack))
        octaves = [_read(schedule, layer, progress) for layer in stack.layers]
        return (start[0] + torch.tensor(octaves)) / stack.settings.envelope.z_max

    return act


def summed_schedules(
    trial: Trial, layers: Sequence[Layer], total_steps: int
) -> dict[str, dict[str, Any]]:
    """Return `sum` (octaves above the start, on the grid) and `count` of curves by layer kind.

    `any` is all kinds together. Trainings that diverged are left out.
    """
    curves: dict[str, list[NDArray[np.float64]]] = {}
    octaves = (trial.rates - trial.start).permute(3, 1, 2, 0)[:, ~trial.diverged]
    progress = trial.steps.numpy() / total_steps
    for layer, own in zip(layers, octaves.double().numpy(), strict=True):
        points = [np.interp(_PLACES, progress, training) for training in own]
        for name in (layer_kind(layer), "any"):
            curves.setdefault(name, []).extend(points)
    return {
        name: {"sum": np.sum(own, axis=0).tolist(), "count": len(own)}
        for name, own in curves.items()
        if own
    }


def averaged(sums: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, list[float]]:
    """Return the mean schedule by layer kind from the sums of several trials."""
    names = {name for own in sums for name in own}
    return {
        name: (
            np.sum([own[name]["sum"] for own in sums if name in own], axis=0)
            / sum(own[name]["count"] for own in sums if name in own)
        ).tolist()
        for name in sorted(names)
    }


def layer_kind(layer: Layer) -> str:
    """Return the kind of a layer as averaged schedules name it."""
    return layer.kind.name.lower() + (" pretrained" if layer.pretrained else "")


def _read(schedule: Schedule, layer: Layer, progress: float) -> float:
    curve = schedule.get(layer_kind(layer), schedule["any"])
    return float(np.interp(progress, _PLACES, curve))


def _horizon(stack: Stack) -> int:
    total = stack.settings.total_steps
    return max(total) if isinstance(total, tuple) else total
