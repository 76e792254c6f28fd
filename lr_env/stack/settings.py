"""What the trainings of a stack have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from lr_env.action import Envelope
from lr_env.decisions import check_horizon
from lr_env.devices import Device, check_device
from lr_env.errors import InvalidArgumentError
from lr_env.inner_loop import check_validation_samples
from lr_env.instances import BaseRate, check_base_lr
from lr_env.reward import RewardKind, check_reward
from lr_env.schedules import Schedule, resolve_schedule


@dataclass(frozen=True)
class StackSettings:
    """What all trainings of a stack share, and the ranges that each draws from.

    Attributes:
        optimizer: `adam`, `adamax`, `adamw`, `rmsprop` or `sgd`.
        optimizer_arguments: handed on to it.
        base_lr: base rate, or the range that it is drawn from log-uniformly.
        lane_rates: the base rate of every lane in place of `base_lr`; lanes of one seed are then
            the same training from different rates.
        schedules: base schedules to draw from, by name or as functions.
        total_steps: mini-batches of a training, or a range (low, high) drawn log-uniformly.
        steps_per_action: mini-batches from decision to decision.
        batch_size: mini-batch size; the task's own if None.
        envelope: how actions move the scales.
        reward_kind: `potential` or `progress`.
        gamma: discount that the potential is shaped with.
        validation_samples: validation samples that the reward is measured on.
        validation_seen: share of trainings that observe their validation loss.
        epochs_seen: share of trainings that observe their passes over the data.
        dtype: of the trainings.
        device: that they compute on, `cpu` or `cuda`; what a stack is given and tells is on the
            CPU all the same.
        compile: whether to compile the hot functions, with as many threads as PyTorch has
            (seconds at the start, a C++ compiler).

    Raises:
        InvalidArgumentError, UnknownNameError: one that no stack could use, whatever its task.
    """

    optimizer: str = "adam"
    optimizer_arguments: Mapping[str, Any] = field(default_factory=dict)
    base_lr: BaseRate = 1e-3
    lane_rates: tuple[float, ...] | None = None
    schedules: tuple[str | Schedule, ...] = ("constant",)
    total_steps: int | tuple[int, int] = 500
    steps_per_action: int = 5
    batch_size: int | None = None
    envelope: Envelope = field(default_factory=Envelope)
    reward_kind: RewardKind = "potential"
    gamma: float = 0.99
    validation_samples: int = 256
    validation_seen: float = 0.0
    epochs_seen: float = 1.0
    dtype: torch.dtype = torch.float32
    device: Device = "cpu"
    compile: bool = False

    def __post_init__(self) -> None:
        horizons = self.total_steps
        if not isinstance(horizons, tuple):
            horizons = (horizons, horizons)
        for horizon in horizons:
            check_horizon(horizon, self.steps_per_action)
        if len(horizons) != 2 or horizons[0] > horizons[1]:
            raise InvalidArgumentError(
                f"total_steps is a number or a range (low, high) of them, not {self.total_steps!r}."
            )
        if not self.schedules:
            raise InvalidArgumentError(
                "schedules holds at least one base schedule, 'constant' say, and not none."
            )
        for schedule in self.schedules:
            resolve_schedule(schedule)
        check_validation_samples(self.validation_samples)
        check_reward(self.reward_kind, self.gamma)
        check_device(self.device)
        for rate in (self.base_lr, *(self.lane_rates or ())):
            check_base_lr(rate)
