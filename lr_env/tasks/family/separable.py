"""Generated data whose classes little separates from being learned: many passes over it pay."""

from __future__ import annotations

import math

import torch

from lr_env.tasks.family.shapes import IMAGE, VOCABULARY, Generator, Pair
from lr_env.tasks.family.spec import FamilySpec

WIDER = 4
"""Candidates for every sample of `margin`: those nearest to another class are left out."""


def _blobs(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """One or two tight Gaussian clusters for every class."""
    each = int(torch.randint(1, 3, (), generator=generator))
    centres = torch.randn(spec.classes * each, spec.size, generator=generator)
    chosen = torch.randint(len(centres), (count,), generator=generator)
    # Distances grow with the root of the dimensions: so does the spread, and overlap stays small.
    spread = (0.1 + 0.2 * float(torch.rand((), generator=generator))) * math.sqrt(spec.size) / 2.0
    noise = torch.randn(count, spec.size, generator=generator)
    return centres[chosen] + min(spread, 0.9) * noise, chosen % spec.classes


def _margin(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Labels of a random two-layer network, without the samples that it is least sure of."""
    inputs = torch.randn(WIDER * count, spec.size, generator=generator)
    first = torch.randn(spec.size, 16, generator=generator) / math.sqrt(spec.size)
    logits = torch.tanh(inputs @ first) @ torch.randn(16, spec.classes, generator=generator)
    logits = (logits - logits.mean(0)) / logits.std(0).clamp(min=1e-6)
    best, second = logits.topk(2, dim=1).values.unbind(1)
    # In the order in which they were drawn, so that splits are alike.
    kept = (best - second).topk(count).indices.sort().values
    return inputs[kept], logits[kept].argmax(1)


def _glyphs(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """Three smooth images for every class, moved by a pixel at most, with little noise."""
    coarse = torch.randn(spec.classes * 3, spec.size, 5, 5, generator=generator)
    glyphs = torch.nn.functional.interpolate(coarse, IMAGE, mode="bilinear")
    chosen = torch.randint(len(glyphs), (count,), generator=generator)
    rows, columns = torch.randint(0, 2, (2, count), generator=generator)
    images = torch.stack([
        torch.stack([torch.roll(glyphs, (row, column), (2, 3)) for column in range(2)])
        for row in range(2)
    ])  # fmt: skip
    noise = torch.randn(count, spec.size, IMAGE, IMAGE, generator=generator)
    strength = 0.2 + 0.5 * float(torch.rand((), generator=generator))
    return images[rows, columns, chosen] + strength * noise, chosen % spec.classes


def _keywords(spec: FamilySpec, count: int, generator: torch.Generator) -> Pair:
    """A class's own token somewhere among tokens that say nothing."""
    order = torch.randperm(VOCABULARY, generator=generator)
    own, others = order[: 2 * spec.classes], order[2 * spec.classes :]
    tokens = others[torch.randint(len(others), (count, spec.size), generator=generator)]
    chosen = torch.randint(len(own), (count,), generator=generator)
    place = torch.randint(spec.size, (count,), generator=generator)
    tokens[torch.arange(count), place] = own[chosen]
    return tokens, chosen % spec.classes


SEPARABLE: dict[str, Generator] = {
    "blobs": _blobs,
    "margin": _margin,
    "glyphs": _glyphs,
    "keywords": _keywords,
}
