"""Layers: the ordered, named groups of parameters that get a learning rate each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor, nn

from lr_env.errors import ModelError

NOTHING_TO_TRAIN = "The model has no trainable parameters: set requires_grad=True on some of them."


class LayerKind(IntEnum):
    """What the parameters of a layer do."""

    MATRIX = 0
    EMBEDDING = 1
    NORMALISATION = 2
    BIAS = 3


@dataclass(frozen=True)
class Layer:
    """The trainable parameters that one module owns directly.

    Attributes:
        name: the module's qualified name; the root's is `model`, or `(root)` where a layer is so
            called.
        kind: matrix, embedding, normalisation or bias-only.
        parameter_names: qualified names, in the module's order.
        size: number of scalars.
        fan_in: inputs of one unit; 1 for anything but matrices and embeddings.
        pretrained: whether it starts from pretrained weights.
        batch_normalised: whether its network has a BatchNorm.
        depth: place in the network, 0 (first) to 1 (last).
    """

    name: str
    kind: LayerKind
    parameter_names: tuple[str, ...]
    size: int
    fan_in: int
    pretrained: bool
    batch_normalised: bool
    depth: float


def group_layers(
    model: nn.Module, is_pretrained: Callable[[str], bool] = lambda name: False
) -> tuple[Layer, ...]:
    """Return the layers of `model` in its own order; frozen parameters belong to none.

    Raises:
        ModelError: no parameter requires a gradient, or one has no shape yet.
    """
    owned: dict[str, dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ModelError(
                f"{name!r} has no shape yet: run a batch through the model before its optimizer "
                "and controller are made."
            )
        if parameter.numel() > 0:
            owned.setdefault(name.rpartition(".")[0], {})[name] = parameter
    if not owned:
        raise ModelError(NOTHING_TO_TRAIN)
    # By name here too: model libraries bring classes of their own.
    batch_normalised = any("batchnorm" in type(own).__name__.lower() for own in model.modules())
    span = max(1, len(owned) - 1)
    root = "(root)" if "model" in owned else "model"
    return tuple(
        Layer(
            name=owner or root,
            kind=_kind(model.get_submodule(owner), parameters.values()),
            parameter_names=tuple(parameters),
            size=sum(parameter.numel() for parameter in parameters.values()),
            fan_in=max(_fan_in(parameter) for parameter in parameters.values()),
            pretrained=all(is_pretrained(name) for name in parameters),
            batch_normalised=batch_normalised,
            depth=index / span,
        )
        for index, (owner, parameters) in enumerate(owned.items())
    )


def _kind(module: nn.Module, parameters: Iterable[Tensor]) -> LayerKind:
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return LayerKind.EMBEDDING
    if any(parameter.ndim >= 2 for parameter in parameters):
        return LayerKind.MATRIX
    # By name, since every model library brings normalisation classes of its own.
    return LayerKind.NORMALISATION if "norm" in type(module).__name__.lower() else LayerKind.BIAS


def _fan_in(parameter: Tensor) -> int:
    return parameter[0].numel() if parameter.ndim >= 2 else 1


@dataclass(frozen=True)
class LayerTable:
    """The constants of L layers as tensors, for arithmetic over `[..., L]`.

    Attributes:
        size: scalars per layer `[L]`.
        weight_floor: smallest root mean square of the weights that a relative rate is
            measured against `[L]`: 0.1 / sqrt(fan_in), so that zero-initialised layers have one.
        kind: one-hot kinds `[L, 4]`.
        pretrained, batch_normalised: 0 or 1 `[L]`.
        depth: 0 to 1 `[L]`.
    """

    size: Tensor
    weight_floor: Tensor
    kind: Tensor
    pretrained: Tensor
    batch_normalised: Tensor
    depth: Tensor

    @classmethod
    def of(
        cls, layers: tuple[Layer, ...], dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> LayerTable:
        """Return the table of `layers`."""

        def column(values: Iterable[float]) -> Tensor:
            return torch.tensor(list(values), dtype=dtype, device=device)

        kinds = torch.tensor([int(layer.kind) for layer in layers], device=device)
        return cls(
            size=column(layer.size for layer in layers),
            weight_floor=column(0.1 / layer.fan_in**0.5 for layer in layers),
            kind=nn.functional.one_hot(kinds, len(LayerKind)).to(dtype),
            pretrained=column(float(layer.pretrained) for layer in layers),
            batch_normalised=column(float(layer.batch_normalised) for layer in layers),
            depth=column(layer.depth for layer in layers),
        )
