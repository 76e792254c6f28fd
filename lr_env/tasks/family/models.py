"""The family's networks; every operation is one that `torch.func.vmap` batches well."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lr_env.tasks.family.shapes import IMAGE, VOCABULARY
from lr_env.tasks.family.spec import FamilySpec

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def build_network(spec: FamilySpec) -> nn.Module:
    """Return the network of `spec`, drawing from torch's global generator."""
    if spec.architecture == "finetune":
        return nn.Sequential(build_backbone(spec), nn.Linear(spec.width, spec.classes))
    if spec.architecture == "transformer":
        return nn.Sequential(TokenEncoder(spec), nn.Linear(spec.width, spec.classes))
    if spec.architecture == "cnn":
        return _cnn(spec)
    if spec.architecture == "residual_cnn":
        return _residual_cnn(spec)
    if spec.architecture == "residual_mlp":
        blocks = [ResidualBlock(spec) for _ in range(spec.depth)]
        return nn.Sequential(
            nn.Linear(spec.size, spec.width), *blocks, nn.Linear(spec.width, spec.classes)
        )
    return nn.Sequential(_hidden(spec), nn.Linear(spec.width, spec.classes))


def build_backbone(spec: FamilySpec) -> nn.Module:
    """Return the part of a fine-tuned network that is pretrained: inputs to `[n, width]`."""
    return TokenEncoder(spec) if spec.inputs == "tokens" else _hidden(spec)


def _hidden(spec: FamilySpec) -> nn.Sequential:
    layers: list[nn.Module] = []
    width = spec.size
    for _ in range(spec.depth):
        layers.append(nn.Linear(width, spec.width))
        if spec.normalised:
            layers.append(nn.LayerNorm(spec.width))
        layers.append(_ACTIVATIONS[spec.activation]())
        width = spec.width
    return nn.Sequential(*layers)


def _cnn(spec: FamilySpec) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels, side = spec.size, IMAGE
    for index in range(spec.depth):
        width = spec.width * 2 ** min(index, 1)
        layers.append(UnfoldedConv2d(channels, width, 3, 2, 1, bias=not spec.normalised))
        if spec.normalised:
            layers.append(nn.BatchNorm2d(width))
        layers.append(_ACTIVATIONS[spec.activation]())
        channels, side = width, side // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side * side, spec.classes))


def _residual_cnn(spec: FamilySpec) -> nn.Sequential:
    stem = (
        UnfoldedConv2d(spec.size, spec.width, 3, 2, 1, bias=False),
        nn.BatchNorm2d(spec.width),
        _ACTIVATIONS[spec.activation](),
    )
    blocks = [ResidualConvBlock(spec) for _ in range(spec.depth)]
    outputs = spec.width * (IMAGE // 2) ** 2
    return nn.Sequential(*stem, *blocks, nn.Flatten(), nn.Linear(outputs, spec.classes))


class UnfoldedConv2d(nn.Conv2d):
    """A padded 3x3 convolution as one matrix product: vmap makes slow grouped ones else.

    Places are the product's rows, of all samples at once: one product for each image is slower.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map `[n, channels, h, w]` to `[n, out_channels, h / stride, w / stride]`."""
        height, width = input.shape[-2:]
        stride = self.stride[0]
        padded = nn.functional.pad(input, (1, 1, 1, 1)).movedim(-3, -1)
        patches = torch.cat([
            padded[..., row : row + height : stride, column : column + width : stride, :]
            for row in range(3) for column in range(3)
        ], -1)  # fmt: skip
        maps = patches.flatten(0, -2) @ self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        if self.bias is not None:
            maps = maps + self.bias
        return maps.reshape(*patches.shape[:-1], self.out_channels).movedim(-1, -3)


class ResidualBlock(nn.Module):
    """x + W2 act(BatchNorm(W1 x)), then BatchNorm: deep normalised networks in small."""

    def __init__(self, spec: FamilySpec) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(spec.width, spec.width, bias=False),
            nn.BatchNorm1d(spec.width),
            _ACTIVATIONS[spec.activation](),
            nn.Linear(spec.width, spec.width, bias=False),
            nn.BatchNorm1d(spec.width),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `[n, width]` to `[n, width]`."""
        return torch.relu(inputs + self.body(inputs))


class ResidualConvBlock(nn.Module):
    """x + BatchNorm(W2 act(BatchNorm(W1 x))) of convolutions (He et al. 2015, fig. 2), in small."""

    def __init__(self, spec: FamilySpec) -> None:
        super().__init__()
        self.body = nn.Sequential(
            UnfoldedConv2d(spec.width, spec.width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(spec.width),
            _ACTIVATIONS[spec.activation](),
            UnfoldedConv2d(spec.width, spec.width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(spec.width),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `[n, width, h, w]` to the same shape."""
        return torch.relu(inputs + self.body(inputs))


class TokenEncoder(nn.Module):
    """A post-LayerNorm transformer encoder (Vaswani et al. 2017), averaged over tokens."""

    def __init__(self, spec: FamilySpec) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, spec.width)
        self.position = nn.Embedding(spec.size, spec.width)
        self.blocks = nn.Sequential(
            *(EncoderBlock(spec.width, spec.activation) for _ in range(spec.depth))
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens `[n, t]` to `[n, width]`."""
        hidden: Tensor = self.embedding(tokens) + self.position.weight
        hidden = self.blocks(hidden)
        return hidden.mean(-2)


class EncoderBlock(nn.Module):
    """Two-headed attention by matrix products, then a feed-forward layer of twice the width."""

    heads = 2

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_attention = nn.LayerNorm(width)
        self.forward_layer = nn.Sequential(
            nn.Linear(width, 2 * width), _ACTIVATIONS[activation](), nn.Linear(2 * width, width)
        )
        self.norm_forward = nn.LayerNorm(width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map `[n, t, width]` to the same shape."""
        hidden = self.norm_attention(hidden + self.attend(hidden))
        normed: Tensor = self.norm_forward(hidden + self.forward_layer(hidden))
        return normed

    def attend(self, hidden: Tensor) -> Tensor:
        """Return what every token gathers from all of them, `[n, t, width]`."""
        shape = (*hidden.shape[:-1], self.heads, hidden.shape[-1] // self.heads)
        query, key, value = (
            part.reshape(shape).transpose(-2, -3) for part in self.mix(hidden).chunk(3, -1)
        )
        weights = (query @ key.transpose(-1, -2) / math.sqrt(shape[-1])).softmax(-1)
        attended = (weights @ value).transpose(-2, -3).reshape(hidden.shape)
        gathered: Tensor = self.out(attended)
        return gathered
