"""The controller of an arm with an agent, and a clock on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from experiments.arms.names import Arm
from lr_env.controller import LRController
from lr_env.policy import FrozenPolicy


class Agent:
    """A controller at work, and the seconds that it took.

    Attributes:
        controller: the controller.
        seconds: spent in its hooks and in `observe`.
    """

    def __init__(self, optimizer: Optimizer, build: Callable[[], LRController]) -> None:
        self.seconds = 0.0
        self._since = 0.0
        # Hooks run in the order of their registration: these stand around the controller's own.
        optimizer.register_step_pre_hook(self._start)
        optimizer.register_step_post_hook(self._start)
        self.controller = build()
        optimizer.register_step_pre_hook(self._stop)
        optimizer.register_step_post_hook(self._stop)

    def observe(self, loss: Tensor) -> None:
        """Hand a mini-batch's loss over."""
        self._start()
        self.controller.observe(loss)
        self._stop()

    def _start(self, *_: Any) -> None:
        self._since = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._since


def build_agent(
    arm: Arm,
    policy: FrozenPolicy,
    model: nn.Module,
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    pretrained: Callable[[str], bool],
) -> Agent:
    """Return the arm's agent."""
    return Agent(
        optimizer,
        lambda: LRController(
            model,
            optimizer,
            policy,
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            z_max=arm.method.z_max,
            z_init=arm.method.z_init,
            pretrained=pretrained,
        ),
    )
