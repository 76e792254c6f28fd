"""The meta-test's data: scikit-learn's bundled sets, and generators that the family has not."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from lr_env.meta_test.spec import MetaTestSpec
from lr_env.tasks.sources import missing_package

IMAGE = 8
VOCABULARY = 20
CLS = VOCABULARY
"""The token that a sequence begins with, and whose place is read out."""
Pair = tuple[Tensor, Tensor]


def generate(spec: MetaTestSpec, count: int, generator: torch.Generator) -> Pair:
    """Return `count` inputs and labels `[count]`; the concept is drawn from `generator` too."""
    return GENERATORS[spec.data](spec, count, generator)


@functools.cache
def _bundled(loader: str) -> Pair:
    try:
        import sklearn.datasets
    except ImportError as error:
        raise missing_package("scikit-learn") from error
    inputs, labels = getattr(sklearn.datasets, loader)(return_X_y=True)
    return torch.from_numpy(inputs).float(), torch.from_numpy(labels).long()


def _digits(spec: MetaTestSpec, count: int, generator: torch.Generator) -> Pair:
    """Images of handwritten digits (Alpaydin and Kaynak 1998), as vectors or as images."""
    inputs, labels = _bundled("load_digits")
    rows = torch.randperm(len(labels), generator=generator)[:count]
    pixels = (inputs[rows] - 4.9) / 6.0
    as_images = spec.network in ("pooled_cnn", "averaged_cnn")
    return pixels.view(-1, 1, IMAGE, IMAGE) if as_images else pixels, labels[rows]


def _table(loader: str) -> Callable[[MetaTestSpec, int, torch.Generator], Pair]:
    def draw(spec: MetaTestSpec, count: int, generator: torch.Generator) -> Pair:
        inputs, labels = _bundled(loader)
        rows = torch.randperm(len(labels), generator=generator)[:count]
        train = inputs[rows[: spec.train_size]]
        return (inputs[rows] - train.mean(0)) / train.std(0).clamp(min=1e-6), labels[rows]

    return draw


def _shells(spec: MetaTestSpec, count: int, generator: torch.Generator) -> Pair:
    """Nested shells around a random centre, in a random plane of four of the dimensions."""
    inputs = torch.randn(count, spec.size, generator=generator)
    turn = torch.randn(spec.size, 4, generator=generator) / math.sqrt(spec.size)
    centre = 0.5 * torch.randn(4, generator=generator)
    return inputs, _equal_shares((inputs @ turn - centre).norm(dim=1), spec.classes)


def _waves(spec: MetaTestSpec, count: int, generator: torch.Generator) -> Pair:
    """The phase of a random plane wave: neighbouring classes repeat along one direction."""
    inputs = torch.randn(count, spec.size, generator=generator)
    direction = torch.randn(spec.size, generator=generator)
    phase = 0.35 * (inputs @ direction) / direction.norm() + torch.rand((), generator=generator)
    return inputs, ((phase % 1.0) * spec.classes).long().clamp(max=spec.classes - 1)


def _gratings(spec: MetaTestSpec, count: int, generator: torch.Generator) -> Pair:
    """Gratings of any direction and phase, whose frequency is the class."""
    labels = torch.randint(spec.classes, (count,), generator=generator)
    angle, phase = 2.0 * math.pi * torch.rand(2, count, 1, 1, generator=generator)
    frequency = (0.5 + 2.0 * labels / max(1, spec.classes - 1)).view(-1, 1, 1)
    grid = torch.arange(IMAGE) - (IMAGE - 1) / 2
    across = grid.view(1, 1, -1) * angle.cos() + grid.view(1, -1, 1) * angle.sin()
    waves = torch.sin(frequency * across + phase).unsqueeze(1)
    noise = torch.randn(count, spec.size, IMAGE, IMAGE, generator=generator)
    return waves.expand_as(noise) + 0.5 * noise, labels


def _first_of(spec: MetaTestSpec, count: int, generator: torch.Generator) -> Pair:
    """Which of the class's own tokens, each present once, comes first in the sequence."""
    own = torch.randperm(VOCABULARY, generator=generator)
    others = own[spec.classes :]
    fill = torch.randint(len(others), (count, spec.size - 1), generator=generator)
    tokens = others[fill]
    order = torch.rand(count, spec.size - 1, generator=generator).argsort(1)[:, : spec.classes]
    tokens.scatter_(1, order, own[: spec.classes].expand(count, -1))
    return with_cls(tokens), order.argmin(1)


def _copy_first(spec: MetaTestSpec, count: int, generator: torch.Generator) -> Pair:
    """The class of the sequence's first token."""
    tokens = torch.randint(VOCABULARY, (count, spec.size - 1), generator=generator)
    owner = torch.randint(spec.classes, (VOCABULARY,), generator=generator)
    return with_cls(tokens), owner[tokens[:, 0]]


def with_cls(tokens: Tensor) -> Tensor:
    """Return the sequences with the token that is read out before them."""
    return torch.cat([torch.full_like(tokens[:, :1], CLS), tokens], 1)


def _equal_shares(values: Tensor, classes: int) -> Tensor:
    """Return which of `classes` equally frequent ranges each value is in."""
    edges = torch.quantile(values, torch.arange(1, classes) / classes)
    return torch.bucketize(values, edges)


GENERATORS: dict[str, Callable[[MetaTestSpec, int, torch.Generator], Pair]] = {
    "digits": _digits,
    "breast_cancer": _table("load_breast_cancer"),
    "wine": _table("load_wine"),
    "shells": _shells,
    "waves": _waves,
    "gratings": _gratings,
    "first_of": _first_of,
    "copy_first": _copy_first,
}
