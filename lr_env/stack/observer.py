"""Observing a stack's lanes: the latest observation of each, and what it remembers."""

from __future__ import annotations

import torch
from torch import Tensor

from lr_env import decisions
from lr_env.action import Envelope, Scope
from lr_env.look import look
from lr_env.observation import FEATURES, Memory, Signals
from lr_env.stack.trainings import Trainings


class Observer:
    """Makes the observations of N trainings.

    Attributes:
        memory: of all lanes.
        latest: observations `[N, L, F]`; replaced and never written to, since callers keep it.
    """

    def __init__(self, trainings: Trainings, envelope: Envelope) -> None:
        self._trainings = trainings
        self._envelope = envelope
        num, layers = trainings.raw.shape[:2]
        self.memory = Memory.empty((num,), layers, trainings.raw)
        self.latest = trainings.raw.new_zeros((num, layers, len(FEATURES)))

    def forget(self, rows: Tensor) -> None:
        """Remember nothing of the lanes in `rows`: they have begun anew."""
        empty = Memory.empty((len(rows),), self.latest.shape[1], self.latest)
        self.memory = self.memory.put(rows, empty)

    def look(self, rows: Tensor, z: Tensor, scope: Scope) -> Tensor:
        """Observe the lanes in `rows` at their scales in `z` `[N, L]`; return `latest`.

        Scales and `scope` of layers that begin are written into both.
        """
        memory, own = self.memory.take(rows), scope.take(rows)
        sight = look(memory, self._signals(rows, z), own, self._envelope, self._trainings.table)
        self.memory = self.memory.put(rows, sight.memory)
        if sight.scope is not own:  # seldom, at beginnings
            scope.put(rows, sight.scope)
            z[rows] = sight.z
        self.latest = self.latest.clone()
        self.latest[rows] = sight.observation
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
            z_max=torch.full_like(epochs, self._envelope.z_max),
            epochs=torch.where(lanes.sees_epochs[rows], epochs, unknown),
            validation_loss=torch.where(
                lanes.sees_validation[rows], own.validation_loss[rows], unknown
            ),
        )
