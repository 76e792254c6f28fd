"""A small training under the controller, for the tests of what it meets in other people's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lr_env.action import Envelope
from lr_env.controller import LRController
from tests.toys import CLASSES, INPUTS, make_policy

STEPS = 40
CALIBRATED = Envelope(
    z_max=10.0, max_step=0.25, z_init="calibrated", ceiling=2.0, schedule="linear", reach=3.0
)


def batch(index: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(index)
    x = torch.randn(16, INPUTS, generator=generator)
    return x, torch.randint(CLASSES, (16,), generator=generator)


def adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=lr)


def control(model: nn.Module, optimizer: Optimizer, **arguments: Any) -> LRController:
    chosen = {"total_steps": STEPS, "steps_per_action": 2, **arguments}
    return LRController(model, optimizer, make_policy(envelope=CALIBRATED), **chosen)


def advance(
    model: nn.Module, optimizer: Any, controller: LRController, first: int, last: int
) -> list[dict[str, float]]:
    rates = []
    for index in range(first, last):
        x, y = batch(index)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        controller.observe(loss)
        optimizer.step()
        rates.append(controller.learning_rates)
    return rates
