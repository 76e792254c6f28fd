"""The timed networks written out, as functions of their weights: fewer calls than modules make."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lr_env.tasks.family.models import EncoderBlock

Network = Callable[[Sequence[Tensor], Tensor], Tensor]


def mlp(weights: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Return logits of the family's MLP."""
    *hidden, weight, bias = weights
    for own, shift in zip(hidden[::2], hidden[1::2], strict=True):
        inputs = F.linear(inputs, own, shift).relu_()
    return F.linear(inputs, weight, bias)


def cnn(weights: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Return logits of the family's CNN; on images so small, unfolding them beats conv2d."""
    *hidden, weight, bias = weights
    for own, shift in zip(hidden[::2], hidden[1::2], strict=True):
        side = inputs.shape[-1] // 2
        maps = own.flatten(1) @ F.unfold(inputs, 3, padding=1, stride=2) + shift.unsqueeze(1)
        inputs = maps.relu_().view(len(inputs), -1, side, side)
    return F.linear(inputs.flatten(1), weight, bias)


def transformer(weights: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Return logits of the family's transformer of one block."""
    embedding, position, *block, weight, bias = weights
    mix, mixed, out, shift, scale1, shift1, up, raised, down, lowered, scale2, shift2 = block
    hidden = F.embedding(inputs, embedding) + position
    num, length, width = hidden.shape
    depth = width // EncoderBlock.heads
    parts = F.linear(hidden, mix, mixed).view(num, length, 3, EncoderBlock.heads, depth)
    query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
    heard = (query @ key.transpose(-1, -2) / math.sqrt(depth)).softmax(-1) @ value
    heard = F.linear(heard.transpose(1, 2).reshape(num, length, width), out, shift)
    hidden = F.layer_norm(hidden + heard, (width,), scale1, shift1)
    wide = F.linear(F.linear(hidden, up, raised).relu_(), down, lowered)
    hidden = F.layer_norm(hidden + wide, (width,), scale2, shift2)
    return F.linear(hidden.mean(-2), weight, bias)


NETWORKS: dict[str, Network] = {"mlp": mlp, "cnn": cnn, "transformer": transformer}
"""By the family's names."""
