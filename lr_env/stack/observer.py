"""Observing a stack's lanes: the latest observation of each, and what it remembers."""

from __future__ import annotations

import torch
from torch import Tensor

from lr_env import decisions
from lr_env.observation import FEATURES, Memory, Signals, features, remember
from lr_env.stack.trainings import Trainings


class Observer:
    """Makes the observations of N trainings.

    Attributes:
        memory: of all lanes.
        latest: observations `[N, L, F]`; replaced and never written to, since callers keep it.
    """

    def __init__(self, trainings: Trainings, z_max: float) -> None:
        self._trainings = trainings
        self._z_max = z_max
        num, layers = trainings.raw.shape[:2]
        self.memory = Memory.empty((num,), layers, trainings.raw)
        self.latest = trainings.raw.new_zeros((num, layers, len(FEATURES)))

    def forget(self, rows: Tensor) -> None:
        """Remember nothing of the lanes in `rows`: they have begun anew."""
        empty = Memory.empty((len(rows),), self.latest.shape[1], self.latest)
        self.memory = self.memory.put(rows, empty)

    def look(self, rows: Tensor, z: Tensor) -> Tensor:
        """Observe the lanes in `rows` at their scales in `z` `[N, L]`; return `latest`."""
        signals = self._signals(rows, z)
        memory = remember(self.memory.take(rows), signals)
        self.memory = self.memory.put(rows, memory)
        self.latest = self.latest.clone()
        self.latest[rows] = features(memory, signals, self._trainings.table)
        return self.latest

    def _signals(self, rows: Tensor, z: Tensor) -> Signals:
        own = self._trainings
        lanes = own.lanes
        step = lanes.step[rows].to(z)
        epochs = step / own.steps_per_epoch
        unknown = torch.full_like(epochs, torch.nan)
        interval = decisions.intervals(lanes.step, own.settings.steps_per_action, lanes.total_steps)
        return Signals(
            raw=own.raw[rows],
            loss=own.loss[rows],
            step=step,
            total_steps=lanes.total_steps[rows].to(z),
            interval=interval[rows].to(z),
            base_lr=lanes.rates(z)[rows].unsqueeze(1).expand(-1, z.shape[1]),
            reference_lr=lanes.reference(z)[rows].unsqueeze(1).expand(-1, z.shape[1]),
            z=z[rows],
            z_max=torch.full_like(epochs, self._z_max),
            epochs=torch.where(lanes.sees_epochs[rows], epochs, unknown),
            validation_loss=torch.where(
                lanes.sees_validation[rows], own.validation_loss[rows], unknown
            ),
        )
