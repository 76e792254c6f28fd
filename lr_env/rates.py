"""Layer learning rates in somebody's optimizer, present for the length of one step only.

Between steps the optimizer has the parameter groups that its owner gave it: schedulers that
compute a rate from the last one never compound our scale, and checkpoints keep their layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from lr_env.errors import ModelError
from lr_env.layers import Layer


def nominal_rate(group: Mapping[str, Any]) -> float:
    """Return the rate that a schedule is made of: now, at first or, in one-cycle, at most."""
    return max(float(group.get(name, 0.0)) for name in ("lr", "initial_lr", "max_lr"))


class LayerRates:
    """Scales the learning rate of each layer in `optimizer`, whatever its groups are.

    A layer's own rate is that of its largest parameter; the others (a bias in a group of its
    own, say) keep their ratio to it.

    Attributes:
        others: number of parameters in the optimizer that learn and are not the model's.

    Raises:
        ModelError: the optimizer lacks a parameter of the layers.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer], optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._layers = layers
        parameters = dict(model.named_parameters())
        self._members = [[parameters[name] for name in layer.parameter_names] for layer in layers]
        self._largest = [max(members, key=Tensor.numel) for members in self._members]
        self._layer_of = self._index()
        self._own_groups: list[dict[str, Any]] | None = None
        self.others = self._not_ours()
        present = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for layer, members in zip(layers, self._members, strict=True):
            if any(id(parameter) not in present for parameter in members):
                raise ModelError(
                    f"The optimizer does not hold layer {layer.name!r}, or not all of it: build it "
                    "from this model's parameters, or freeze the rest with requires_grad_(False)."
                )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_layer_of"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._layer_of = self._index()

    def check_model(self, model: nn.Module) -> None:
        """Raise ModelError if a parameter of the layers is no longer the model's."""
        present = {id(parameter) for parameter in model.parameters()}
        for layer, members in zip(self._layers, self._members, strict=True):
            if any(id(parameter) not in present for parameter in members):
                raise ModelError(
                    f"Parameters of layer {layer.name!r} were replaced in the model since the "
                    "controller was made: call detach(), and make optimizer and controller anew."
                )

    def base(self) -> list[float]:
        """Return today's unscaled rate of every layer."""
        return self._per_layer(lambda group: float(group["lr"]))

    def reference(self) -> list[float]:
        """Return the nominal rate of every layer; see `nominal_rate`."""
        return self._per_layer(nominal_rate)

    def apply(self, scales: Sequence[float]) -> None:
        """Split the groups by layer and scale each layer's rate by its entry of `scales`."""
        self.restore()
        own = self._optimizer.param_groups
        self._optimizer.param_groups = [
            part for group in own for part in self._split(group, scales)
        ]
        self._own_groups = own

    def restore(self) -> None:
        """Give the optimizer its own groups back, with what the step changed in them."""
        if self._own_groups is None:
            return
        split = {id(part["params"][0]): part for part in self._optimizer.param_groups}
        for group in self._own_groups:
            if group["params"]:
                part = split[id(group["params"][0])]
                group.update({k: v for k, v in part.items() if k not in ("params", "lr")})
        # A group that was added after a step that failed is nobody's part.
        known = {id(parameter) for group in self._own_groups for parameter in group["params"]}
        for part in self._optimizer.param_groups:
            if not any(id(parameter) in known for parameter in part["params"]):
                self._own_groups.append(part)
        self._optimizer.param_groups = self._own_groups
        self._own_groups = None

    def _not_ours(self) -> int:
        held = (p for group in self._optimizer.param_groups for p in group["params"])
        return sum(id(p) not in self._layer_of and p.requires_grad and p.numel() > 0 for p in held)

    def _index(self) -> dict[int, int]:
        # By identity, which a copy or an unpickled training has anew.
        return {id(p): index for index, members in enumerate(self._members) for p in members}

    def _split(self, group: dict[str, Any], scales: Sequence[float]) -> list[dict[str, Any]]:
        parts: dict[int | None, list[Tensor]] = {}
        for parameter in group["params"]:
            parts.setdefault(self._layer_of.get(id(parameter)), []).append(parameter)
        return [
            {
                **group,
                "params": members,
                "lr": group["lr"] if index is None else group["lr"] * scales[index],
            }
            for index, members in parts.items()
        ]

    def _per_layer(self, rate: Callable[[Mapping[str, Any]], float]) -> list[float]:
        values = {
            id(parameter): rate(group)
            for group in self._own_groups or self._optimizer.param_groups
            for parameter in group["params"]
        }
        try:
            return [values[id(parameter)] for parameter in self._largest]
        except KeyError as error:
            raise ModelError(
                "The optimizer no longer holds all parameters that the controller was made for: "
                "call detach(), and make a new controller once model and optimizer are settled."
            ) from error
