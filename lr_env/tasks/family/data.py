"""Generated data: inputs and labels of one kind, drawn from a generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lr_env.errors import UnknownNameError
from lr_env.tasks.family.separable import SEPARABLE
from lr_env.tasks.family.shapes import IMAGE, VOCABULARY, Generator, Pair
from lr_env.tasks.family.spec import FamilySpec


def generate(kind: str, spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Return `count` inputs and labels `[count]`; the concept is drawn from `generator` too."""
    if kind not in GENERATORS:
        raise UnknownNameError("data generator", kind, GENERATORS)
    return GENERATORS[kind](spec, count, generator)


def add_label_noise(
    labels: Tensor, classes: int, share: float, generator: torch.Generator
) -> Tensor:
    """Return `labels` with `share` of them drawn uniformly anew."""
    noisy = torch.rand(len(labels), generator=generator) < share
    anew = torch.randint(classes, (len(labels),), generator=generator)
    return torch.where(noisy, anew, labels)


def _clusters(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Three Gaussian clusters for every class."""
    centres = torch.randn(spec.classes * 3, spec.size, generator=generator)
    chosen = torch.randint(len(centres), (count,), generator=generator)
    spread = 0.3 + 0.7 * float(torch.rand((), generator=generator))
    noise = torch.randn(count, spec.size, generator=generator)
    return centres[chosen] + spread * noise, chosen % spec.classes


def _teacher(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Labels of a random two-layer network."""
    inputs = torch.randn(count, spec.size, generator=generator)
    first = torch.randn(spec.size, 32, generator=generator) * (2.0 / math.sqrt(spec.size))
    second = torch.randn(32, spec.classes, generator=generator)
    return inputs, _balanced(torch.tanh(inputs @ first) @ second)


def _deep_teacher(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Labels of a random network of four layers: learned slowly, and for as long as one trains."""
    inputs = torch.randn(count, spec.size, generator=generator)
    hidden = inputs * (2.0 / math.sqrt(spec.size))
    for _ in range(3):
        weights = torch.randn(hidden.shape[1], 48, generator=generator)
        hidden = torch.tanh(hidden @ weights * (1.5 / math.sqrt(hidden.shape[1])))
    return inputs, _balanced(hidden @ torch.randn(48, spec.classes, generator=generator))


def _islands(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Twenty tight clusters for every class: each has to be learned for itself."""
    centres = torch.randn(spec.classes * 20, spec.size, generator=generator)
    chosen = torch.randint(len(centres), (count,), generator=generator)
    noise = torch.randn(count, spec.size, generator=generator)
    return centres[chosen] + 0.3 * noise, chosen % spec.classes


def _linear(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Labels of a random linear map, on inputs whose scales differ by up to e^2."""
    inputs = torch.randn(count, spec.size, generator=generator)
    scales = torch.exp(2.0 * torch.rand(spec.size, generator=generator) - 1.0)
    weights = torch.randn(spec.size, spec.classes, generator=generator)
    return inputs * scales, _balanced(inputs @ weights)


def _sectors(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Twisted sectors of a plane (a spiral), turned into all the input's dimensions."""
    radius = torch.rand(count, generator=generator).sqrt()
    angle = 2.0 * math.pi * torch.rand(count, generator=generator)
    twist = 3.0 * float(torch.rand((), generator=generator))
    labels = ((angle + twist * radius) / (2.0 * math.pi) * spec.classes).long() % spec.classes
    plane = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    turned = plane @ torch.randn(2, spec.size, generator=generator)
    return turned + 0.05 * torch.randn(count, spec.size, generator=generator), labels


def _prototypes(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """A smooth random image for every class, shifted and noisy."""
    coarse = torch.randn(spec.classes, spec.size, 4, 4, generator=generator)
    prototypes = torch.nn.functional.interpolate(coarse, IMAGE, mode="bilinear")
    labels = torch.randint(spec.classes, (count,), generator=generator)
    shift = int(torch.randint(0, 3, (), generator=generator))
    images = torch.stack([torch.roll(prototypes, (0, step), (2, 3)) for step in range(shift + 1)])
    moved = torch.randint(shift + 1, (count,), generator=generator)
    noise = torch.randn(count, spec.size, IMAGE, IMAGE, generator=generator)
    return images[moved, labels] + noise, labels


def _sprites(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Twelve images for every class, moved about in both directions and mirrored."""
    coarse = torch.randn(spec.classes * 12, spec.size, 4, 4, generator=generator)
    sprites = torch.nn.functional.interpolate(coarse, IMAGE, mode="bilinear")
    chosen = torch.randint(len(sprites), (count,), generator=generator)
    moves = torch.randint(0, 3, (count, 2), generator=generator)
    images = sprites[chosen]
    rows, columns = ((torch.arange(IMAGE) + own.unsqueeze(1)) % IMAGE for own in moves.unbind(1))
    index = torch.arange(count).view(-1, 1, 1)
    moved = images[index, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
    mirrored = torch.rand(count, generator=generator) < 0.5
    moved = torch.where(mirrored.view(-1, 1, 1, 1), moved.flip(3), moved)
    noise = torch.randn(count, spec.size, IMAGE, IMAGE, generator=generator)
    return moved + 0.3 * noise, chosen % spec.classes


def _bars(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Bars whose direction is the class, anywhere in the image."""
    labels = torch.randint(spec.classes, (count,), generator=generator)
    angle = (labels / spec.classes * math.pi).view(-1, 1, 1)
    offset = 4.0 * torch.rand(count, 1, 1, generator=generator) - 2.0
    grid = torch.arange(IMAGE) - (IMAGE - 1) / 2
    across = grid.view(1, 1, -1) * angle.sin() - grid.view(1, -1, 1) * angle.cos()
    bars = torch.exp(-((across - offset) ** 2)).unsqueeze(1)
    colour = 2.0 * torch.rand(count, spec.size, 1, 1, generator=generator)
    noise = torch.randn(count, spec.size, IMAGE, IMAGE, generator=generator)
    return bars * colour + 0.4 * noise, labels


def _filters(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Labels of a random convolutional network: learned slowly, and for as long as one trains."""
    coarse = torch.randn(count, spec.size, 4, 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, IMAGE, mode="bilinear")
    images = images + 0.3 * torch.randn(images.shape, generator=generator)
    hidden = images
    for _ in range(2):
        fan_in = 9 * hidden.shape[1]
        kernels = torch.randn(24, hidden.shape[1], 3, 3, generator=generator)
        maps = torch.nn.functional.conv2d(hidden, kernels * (1.5 / math.sqrt(fan_in)), None, 2, 1)
        hidden = torch.tanh(maps)
    flat = hidden.flatten(1)
    return images, _balanced(flat @ torch.randn(flat.shape[1], spec.classes, generator=generator))


def _majority(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """The class whose tokens are most frequent."""
    tokens = torch.randint(VOCABULARY, (count, spec.size), generator=generator)
    owner = torch.randint(spec.classes, (VOCABULARY,), generator=generator)
    votes = torch.nn.functional.one_hot(owner[tokens], spec.classes).float().sum(1)
    return tokens, _balanced(votes + 0.01 * torch.rand(votes.shape, generator=generator))


def _marker(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """The class of the token that follows the marker (token 0)."""
    tokens = torch.randint(1, VOCABULARY, (count, spec.size), generator=generator)
    place = torch.randint(spec.size - 1, (count,), generator=generator)
    rows = torch.arange(count)
    tokens[rows, place] = 0
    owner = torch.randint(spec.classes, (VOCABULARY,), generator=generator)
    return tokens, owner[tokens[rows, place + 1]]


def _lookup(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """A random table over the first and the last token: no part of it tells of another."""
    tokens = torch.randint(VOCABULARY, (count, spec.size), generator=generator)
    table = torch.randint(spec.classes, (VOCABULARY // 2, VOCABULARY // 2), generator=generator)
    return tokens, table[tokens[:, 0] // 2, tokens[:, -1] // 2]


def _pairs(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Sums of random scores of neighbouring tokens."""
    tokens = torch.randint(VOCABULARY, (count, spec.size), generator=generator)
    scores = torch.randn(VOCABULARY, VOCABULARY, spec.classes, generator=generator)
    return tokens, _balanced(scores[tokens[:, :-1], tokens[:, 1:]].sum(1))


def _balanced(logits: Tensor) -> Tensor:
    """Return the argmax of logits that are centred first, so that no class is rare."""
    return ((logits - logits.mean(0)) / logits.std(0).clamp(min=1e-6)).argmax(-1)


GENERATORS: dict[str, Generator] = {
    "clusters": _clusters,
    "teacher": _teacher,
    "deep_teacher": _deep_teacher,
    "islands": _islands,
    "linear": _linear,
    "sectors": _sectors,
    "prototypes": _prototypes,
    "sprites": _sprites,
    "bars": _bars,
    "filters": _filters,
    "majority": _majority,
    "marker": _marker,
    "pairs": _pairs,
    "lookup": _lookup,
    **SEPARABLE,
}
