"""Arms: the methods that an evaluation compares."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from lr_env.action import InitialScale
from lr_env.controller import LRController
from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.policy import FrozenPolicy
from lr_env.schedules import resolve_schedule

Scheduler = LambdaLR | ReduceLROnPlateau


@dataclass(frozen=True)
class Method:
    """What an arm does with the learning rate; the optimizer is Adam in all of them.

    Attributes:
        label: for tables and pictures.
        schedule: base schedule by name, or `plateau`.
        lr: base rate.
        z_max: half-width of the agent's envelope; None where no agent is at work.
        z_init: where the agent's scales start.
    """

    label: str
    schedule: str = "constant"
    lr: float = 1e-3
    z_max: float | None = None
    z_init: InitialScale = "zero"


METHODS: dict[str, Method] = {
    "adam": Method("Adam, fixed"),
    "adam-cosine": Method("Adam, cosine", "cosine"),
    "adam-linear": Method("Adam, warm-up and linear", "linear"),
    "adam-plateau": Method("Adam, plateau", "plateau"),
    "agent": Method("Frozen agent", z_max=10.0, z_init="cautious"),
    "agent-narrow": Method("Frozen agent on cosine", "cosine", z_max=2.0),
}
DEFAULT_ARMS = tuple(METHODS)
PLATEAU_PATIENCE = 5
_SCHEDULE_WORDS = {
    "constant": "constant",
    "cosine": "cosine decay to zero",
    "linear": "linear warm-up over a tenth of the steps, linear decay to zero",
    "plateau": f"a tenth of it whenever the validation loss has not fallen for {PLATEAU_PATIENCE} "
    "epochs (ReduceLROnPlateau)",
}

HIGHEST_LR = 1000.0
"""Above it, float32 overflows before anything is learned about the method."""

_ARM = re.compile(r"([a-z][a-z0-9-]*)(?:@([0-9.eE+-]+))?")


@dataclass(frozen=True)
class Arm:
    """A method and the base rate that it starts from."""

    method_name: str
    lr: float

    @property
    def method(self) -> Method:
        """What the arm does."""
        return METHODS[self.method_name]

    @property
    def name(self) -> str:
        """The name that selects it: `adam`, `adam@0.01`."""
        own = self.lr == self.method.lr
        return self.method_name if own else f"{self.method_name}@{self.lr:.12g}"

    @property
    def label(self) -> str:
        """The name for people; the base rate is part of it where it is not the method's own."""
        own = self.lr == self.method.lr
        return self.method.label if own else f"{self.method.label}, from {self.lr:g}"

    @property
    def description(self) -> str:
        """What exactly the arm does."""
        method = self.method
        text = f"Adam, base rate {self.lr:g}, {_SCHEDULE_WORDS[method.schedule]}"
        if method.z_max is None:
            return text
        return (
            f"{text}; the agent scales every layer's rate by up to 2^{method.z_max:g} either way, "
            f"from {'scale 1' if method.z_init == 'zero' else 'a cautious start'}"
        )

    @property
    def is_agent(self) -> bool:
        """Whether a frozen policy is at work."""
        return self.method.z_max is not None


def parse_arms(text: str) -> list[Arm]:
    """Return the arms named in `text`, separated by spaces or commas, each once.

    Raises:
        UnknownNameError, InvalidArgumentError: no such method, or no such rate.
    """
    arms = [_parse(word) for word in re.split(r"[\s,]+", text.strip()) if word]
    if not arms:
        raise InvalidArgumentError(f"No arms given; there are {', '.join(METHODS)}.")
    return list(dict.fromkeys(arms))


def _parse(word: str) -> Arm:
    match = _ARM.fullmatch(word)
    name = match[1] if match else word.split("@")[0]
    if name not in METHODS:
        raise UnknownNameError("arm", name, METHODS)
    try:
        lr = METHODS[name].lr if match is None or match[2] is None else float(match[2])
    except ValueError:
        lr = math.nan
    if match is None or not 0.0 < lr <= HIGHEST_LR:
        raise InvalidArgumentError(
            f"Arm {word!r}: what follows @ is a learning rate above 0 and up to {HIGHEST_LR:g}."
        )
    return Arm(name, lr)


def build_optimizer(arm: Arm, model: nn.Module) -> Optimizer:
    """Return the arm's optimizer."""
    return torch.optim.Adam(model.parameters(), lr=arm.lr)


def build_scheduler(arm: Arm, optimizer: Optimizer, total_steps: int) -> Scheduler | None:
    """Return the arm's scheduler: stepped each mini-batch, on a plateau each epoch."""
    if arm.method.schedule == "constant":
        return None
    if arm.method.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, factor=0.1, patience=PLATEAU_PATIENCE)
    schedule = resolve_schedule(arm.method.schedule)
    return LambdaLR(optimizer, lambda step: schedule(step, total_steps))


def build_controller(
    arm: Arm,
    policy: FrozenPolicy,
    model: nn.Module,
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    pretrained: Callable[[str], bool],
) -> LRController | None:
    """Return the arm's controller; None in a baseline."""
    if not arm.is_agent:
        return None
    return LRController(
        model,
        optimizer,
        policy,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        z_max=arm.method.z_max,
        z_init=arm.method.z_init,
        pretrained=pretrained,
    )
