"""The meta-test's networks: a body and a head, of operations that vmap batches well."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lr_env.meta_test.data import IMAGE, VOCABULARY
from lr_env.meta_test.spec import MetaTestSpec
from lr_env.tasks.family.models import EncoderBlock, UnfoldedConv2d


def build_network(spec: MetaTestSpec) -> nn.Sequential:
    """Return the network of `spec`, drawing from torch's global generator."""
    body = build_body(spec)
    return nn.Sequential(body, nn.Linear(_body_width(spec), spec.classes))


def build_body(spec: MetaTestSpec) -> nn.Module:
    """Return all but the head: inputs to `[n, width]`."""
    if spec.network == "transformer":
        return SequenceReader(spec)
    if spec.network in ("pooled_cnn", "averaged_cnn"):
        return _convolutions(spec)
    layers: list[nn.Module] = []
    width = spec.size
    for _ in range(spec.depth):
        layers.append(nn.Linear(width, spec.width))
        if spec.network == "normalised_mlp":
            layers.append(nn.LayerNorm(spec.width))
        layers.append(nn.ReLU())
        width = spec.width
    return nn.Sequential(*layers)


def _body_width(spec: MetaTestSpec) -> int:
    if spec.network not in ("pooled_cnn", "averaged_cnn"):
        return spec.width
    channels = int(spec.width * 2 ** (spec.depth - 1))
    side = IMAGE // 2**spec.depth if spec.network == "pooled_cnn" else 1
    return channels * side * side


def _convolutions(spec: MetaTestSpec) -> nn.Sequential:
    """Return convolutions of stride 1 with twice the channels each.

    `pooled_cnn` halves the image after each by its maxima; `averaged_cnn` keeps its size and
    averages over all places at the end.
    """
    layers: list[nn.Module] = []
    channels, width = spec.size, spec.width
    for _ in range(spec.depth):
        layers += [UnfoldedConv2d(channels, width, 3, 1, 1), nn.ReLU()]
        if spec.network == "pooled_cnn":
            layers.append(HalvingMaximum())
        channels, width = width, 2 * width
    if spec.network == "averaged_cnn":
        return nn.Sequential(*layers, SpatialMean())
    return nn.Sequential(*layers, nn.Flatten())


class HalvingMaximum(nn.Module):
    """Max-pooling of 2x2 places by views, which vmap batches without a loop."""

    def forward(self, images: Tensor) -> Tensor:
        """Map `[n, channels, h, w]` to `[n, channels, h / 2, w / 2]`."""
        height, width = images.shape[-2:]
        quarters = images.reshape(*images.shape[:-2], height // 2, 2, width // 2, 2)
        return quarters.amax((-3, -1))


class SpatialMean(nn.Module):
    """The mean over all places of an image."""

    def forward(self, images: Tensor) -> Tensor:
        """Map `[n, channels, h, w]` to `[n, channels]`."""
        return images.mean((-2, -1))


class PreNormBlock(EncoderBlock):
    """A transformer block that normalises what each part reads (Xiong et al. 2020)."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Map `[n, t, width]` to the same shape."""
        hidden = hidden + self.attend(self.norm_attention(hidden))
        out: Tensor = hidden + self.forward_layer(self.norm_forward(hidden))
        return out


class SequenceReader(nn.Module):
    """A pre-LayerNorm transformer encoder, read out at the sequence's first place."""

    def __init__(self, spec: MetaTestSpec) -> None:
        super().__init__()
        # One token more than the vocabulary: the first of every sequence.
        self.embedding = nn.Embedding(VOCABULARY + 1, spec.width)
        self.position = nn.Embedding(spec.size, spec.width)
        self.blocks = nn.Sequential(*(PreNormBlock(spec.width, "gelu") for _ in range(spec.depth)))
        self.norm = nn.LayerNorm(spec.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens `[n, t]` to `[n, width]`."""
        hidden: Tensor = self.embedding(tokens) + self.position.weight
        read: Tensor = self.norm(self.blocks(hidden)[..., 0, :])
        return read


def parameters_of(spec: MetaTestSpec) -> int:
    """Return the number of scalars that a network of `spec` trains."""
    with torch.device("meta"):
        return sum(p.numel() for p in build_network(spec).parameters())
