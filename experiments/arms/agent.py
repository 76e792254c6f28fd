"""The controller of an arm with an agent, and a clock on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from experiments.arms.methods import PilotName
from experiments.arms.names import Arm
from lr_env.controller import LRController
from lr_env.meta_test.controls import (
    Control,
    HalfStart,
    LayerByLayer,
    NoActions,
    OneAction,
    OneRate,
    RandomActions,
    Shuffled,
)
from lr_env.policy import FrozenPolicy

CONTROLS: dict[PilotName, type[Control]] = {
    "nobody": NoActions, "half": HalfStart, "layer-by-layer": LayerByLayer,
    "one-action": OneAction, "one-rate": OneRate, "shuffled": Shuffled, "random": RandomActions,
}  # fmt: skip


class Clock:
    """Counts the seconds that a controller takes in an optimizer's hooks.

    Hooks run in the order of their registration: `open` before the controller registers its own,
    `close` after.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def open(self, optimizer: Optimizer) -> None:
        """Start at what is registered from here on."""
        optimizer.register_step_pre_hook(self.start)
        optimizer.register_step_post_hook(self.start)

    def close(self, optimizer: Optimizer) -> None:
        """Stop at what is registered from here on."""
        optimizer.register_step_pre_hook(self.stop)
        optimizer.register_step_post_hook(self.stop)

    def start(self, *_: Any) -> None:
        """Start counting."""
        self._since = time.perf_counter()

    def stop(self, *_: Any) -> None:
        """Stop counting."""
        self.seconds += time.perf_counter() - self._since


class Agent:
    """A controller at work, and a clock on it."""

    def __init__(self, optimizer: Optimizer, build: Callable[[], LRController]) -> None:
        self.clock = Clock()
        self.clock.open(optimizer)
        self.controller = build()
        self.clock.close(optimizer)

    @property
    def seconds(self) -> float:
        """Seconds that the controller took."""
        return self.clock.seconds

    def observe(self, loss: Tensor) -> None:
        """Hand a mini-batch's loss over."""
        self.clock.start()
        self.controller.observe(loss)
        self.clock.stop()


def build_agent(
    arm: Arm,
    policy: FrozenPolicy,
    model: nn.Module,
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    batch_size: int,
    pretrained: Callable[[str], bool],
    seed: int,
) -> Agent:
    """Return the arm's agent, or the control of it; `seed` is of what a control draws."""
    control = CONTROLS.get(arm.method.pilot)
    policy = policy if control is None else control(policy, seed)
    return Agent(
        optimizer,
        lambda: LRController(
            model,
            optimizer,
            policy,
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            batch_size=batch_size,
            z_max=arm.method.z_max,
            z_init=arm.method.z_init,
            pretrained=pretrained,
        ),
    )
