"""Pretrained backbones: networks that learned a teacher's features, which a head then uses."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lr_env.randomness import IsolatedTorchRandomness, derive_seed, torch_generator
from lr_env.tasks.family.models import build_backbone
from lr_env.tasks.family.shapes import VOCABULARY
from lr_env.tasks.family.spec import FamilySpec

FEATURES = 24
POOL = 3
_STEPS, _BATCH = 1500, 64


class Teacher:
    """A fixed random network whose 24 features `[n, 24]` are what pretraining is about."""

    def __init__(self, spec: FamilySpec, seed: int) -> None:
        generator = torch_generator(seed, "teacher")
        self._tokens = spec.inputs == "tokens"
        self._size = spec.size
        width = 16 if self._tokens else spec.size
        self._embedding = torch.randn(VOCABULARY, width, generator=generator)
        self._first = torch.randn(width, 32, generator=generator) * (2.0 / math.sqrt(width))
        self._second = torch.randn(32, FEATURES, generator=generator) * (2.0 / math.sqrt(32))

    def inputs(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw inputs."""
        if self._tokens:
            return torch.randint(VOCABULARY, (count, self._size), generator=generator)
        return torch.randn(count, self._size, generator=generator)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the features `[n, 24]` of `inputs`, of about unit scale."""
        values = inputs
        if self._tokens:
            values = self._embedding[inputs].mean(1) * math.sqrt(self._size)
        return torch.tanh(torch.tanh(values @ self._first) @ self._second)


def pretrain(
    model: nn.Module,
    draw: Callable[[], tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    steps: int,
) -> None:
    """Train `model` for `steps` on batches that are drawn, by Adam under a one-cycle schedule."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        inputs, targets = draw()
        lost = loss(model(inputs), targets)
        optimizer.zero_grad()
        torch.autograd.backward(lost)
        optimizer.step()
        schedule.step()


@functools.cache
def pretrained(spec: FamilySpec, number: int) -> tuple[Teacher, dict[str, Tensor]]:
    """Return teacher `number` of the pool and the weights of the backbone that learned it."""
    seed = derive_seed(number, "backbone")
    teacher = Teacher(spec, seed)
    with IsolatedTorchRandomness(seed, "weights").use():
        backbone = build_backbone(spec)
        model = nn.Sequential(backbone, nn.Linear(spec.width, FEATURES))
    generator = torch_generator(seed, "inputs")

    def draw() -> tuple[Tensor, Tensor]:
        inputs = teacher.inputs(_BATCH, generator)
        return inputs, teacher.features(inputs)

    pretrain(model, draw, nn.functional.mse_loss, _STEPS)
    return teacher, {name: value.detach() for name, value in backbone.state_dict().items()}
