"""Observing a stack's lanes: the latest observation of each, and what it remembers."""

from __future__ import annotations

import torch
from torch import Tensor

from lr_env import decisions, devices
from lr_env.action import Envelope, Scope
from lr_env.look import look
from lr_env.observation import FEATURES, Memory, Signals
from lr_env.stack.trainings import Trainings


class Observer:
    """Makes the observations of N trainings.

    Attributes:
        memory: of all lanes, on the trainings' device.
        latest: observations `[N, L, F]`, on the CPU; replaced and never written to, since callers
            keep it.
    """

    def __init__(self, trainings: Trainings, envelope: Envelope) -> None:
        self._trainings = trainings
        self._envelope = envelope
        num, layers = trainings.raw.shape[:2]
        self.memory = Memory.empty((num,), layers, trainings.raw)
        self.latest = torch.zeros((num, layers, len(FEATURES)), dtype=trainings.raw.dtype)

    def forget(self, rows: Tensor) -> None:
        """Remember nothing of the lanes in `rows`: they have begun anew."""
        like = self._trainings.raw
        empty = Memory.empty((len(rows),), like.shape[1], like)
        self.memory = self.memory.put(rows.to(like.device), empty)

    def look(self, rows: Tensor, z: Tensor, scope: Scope) -> Tensor:
        """Observe the lanes in `rows` at their scales in `z` `[N, L]`; return `latest`.

        Scales and `scope` of layers that begin are written into both. `rows` are on the CPU,
        scales and scope on the trainings' device.
        """
        there = rows.to(z.device)
        memory, own = self.memory.take(there), scope.take(there)
        signals = self._signals(rows, there, z)
        sight = look(memory, signals, own, self._envelope, self._trainings.table)
        self.memory = self.memory.put(there, sight.memory)
        if sight.scope is not own:  # seldom, at beginnings
            scope.put(there, sight.scope)
            z[there] = sight.z
        self.latest = self.latest.clone()
        self.latest[rows] = devices.on_host(sight.observation)
        return self.latest

    def _signals(self, rows: Tensor, there: Tensor, z: Tensor) -> Signals:
        """Return what is known of the lanes in `rows`; `there`, the same on the device."""
        own = self._trainings
        lanes = own.lanes
        step = lanes.step.to(own.loss)
        interval = decisions.intervals(lanes.step, own.settings.steps_per_action, lanes.total_steps)
        epochs = step / own.steps_per_epoch
        total_steps = lanes.total_steps.to(step)
        samples = decisions.samples_met(total_steps, own.steps_per_epoch, own.batch_size)
        unknown = torch.full_like(epochs, torch.nan)
        known = {
            "loss": own.loss,
            "step": step,
            "total_steps": total_steps,
            "samples": torch.where(lanes.sees_epochs, samples, unknown),
            "interval": interval.to(step),
            "base_lr": lanes.rates(step),
            "reference_lr": lanes.reference(step),
            "z_max": torch.full_like(epochs, self._envelope.z_max),
            "epochs": torch.where(lanes.sees_epochs, epochs, unknown),
            "validation_loss": torch.where(lanes.sees_validation, own.validation_loss, unknown),
        }
        # At once: each would be a way to the device of its own.
        moved = torch.stack(list(known.values()))[:, rows].to(z.device)
        signals = dict(zip(known, moved, strict=True))
        for rate in ("base_lr", "reference_lr"):
            signals[rate] = signals[rate].unsqueeze(1).expand(-1, z.shape[1])
        return Signals(raw=own.raw[there], z=z[there], **signals)
