"""Pretrained bodies: what they learned from unlimited data cannot be learned from the task's.

The family's backbones regress a teacher's features. These learned to name the latent class of
noisy scenes, or the topic of sequences; the task is then about groups of latent classes, of which
it holds a handful of samples each.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lr_env.meta_test.data import VOCABULARY, with_cls
from lr_env.meta_test.models import build_body
from lr_env.meta_test.spec import MetaTestSpec
from lr_env.randomness import IsolatedTorchRandomness, derive_seed, torch_generator
from lr_env.tasks.family.pretraining import pretrain

POOL = 2
_STEPS, _BATCH = 1200, 64


class World(ABC):
    """A fixed random world of latent classes."""

    latent: int

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return inputs and their latent classes `[count]`."""


class Scenes(World):
    """Latent objects and nuisances, seen through a random network."""

    latent = 32

    def __init__(self, spec: MetaTestSpec, generator: torch.Generator) -> None:
        self._prototypes = torch.randn(self.latent, 12, generator=generator)
        self._first = torch.randn(24, 48, generator=generator) / math.sqrt(12)
        self._second = torch.randn(48, spec.size, generator=generator) / math.sqrt(24)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See the base class."""
        latent = torch.randint(self.latent, (count,), generator=generator)
        nuisance = torch.randn(count, 12, generator=generator)
        shift = 0.3 * torch.randn(count, 12, generator=generator)
        hidden = torch.cat([self._prototypes[latent] + shift, nuisance], 1) @ self._first
        return torch.tanh(hidden) @ self._second, latent


class Topics(World):
    """Topics, each a Markov chain over the tokens: single tokens say little of them."""

    latent = 12

    def __init__(self, spec: MetaTestSpec, generator: torch.Generator) -> None:
        self._length = spec.size - 1
        logits = torch.randn(self.latent, VOCABULARY, VOCABULARY, generator=generator)
        self._transitions = (4.0 * logits).softmax(-1)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See the base class."""
        latent = torch.randint(self.latent, (count,), generator=generator)
        tokens = [torch.randint(VOCABULARY, (count,), generator=generator)]
        for _ in range(self._length - 1):
            chances = self._transitions[latent, tokens[-1]]
            tokens.append(torch.multinomial(chances, 1, generator=generator).squeeze(1))
        return with_cls(torch.stack(tokens, 1)), latent


WORLDS: dict[str, type[Scenes] | type[Topics]] = {"scenes": Scenes, "topics": Topics}


@functools.cache
def pretrained(spec: MetaTestSpec, number: int) -> tuple[World, dict[str, Tensor]]:
    """Return world `number` and the weights of the body that learned to name its classes."""
    seed = derive_seed(number, "meta-test body")
    world = WORLDS[spec.data](spec, torch_generator(seed, "world"))
    with IsolatedTorchRandomness(seed, "weights").use():
        body = build_body(spec)
        model = nn.Sequential(body, nn.Linear(spec.width, world.latent))
    generator = torch_generator(seed, "inputs")
    draw = functools.partial(world.draw, _BATCH, generator)
    pretrain(model, draw, nn.functional.cross_entropy, _STEPS)
    return world, {name: value.detach() for name, value in body.state_dict().items()}


def grouped(
    spec: MetaTestSpec, number: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return `count` inputs of world `number`, labelled by random equal groups of its classes."""
    world, _ = pretrained(spec, number)
    inputs, latent = world.draw(count, generator)
    groups = torch.randperm(world.latent, generator=generator) % spec.classes
    return inputs, groups[latent]
