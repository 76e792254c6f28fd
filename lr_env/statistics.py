"""Raw statistics of layers, `[..., L, R]`: what is measured of a training at a decision.

Two extractors fill the same columns: the one here reads a module's own tensors, the one in
`lr_env.stack` reduces stacked tensors. Everything after them is one code path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lr_env.errors import ModelError
from lr_env.gradients import pending_gradient
from lr_env.layers import Layer

RAW_STATISTICS = (
    "weight_sq",  # sum of squared weights
    "distance_sq",  # sum of squared distances from the initial weights
    "gradient_sq",  # sum of squared entries of the pending gradient
    "momentum_sq",  # the same of the optimizer's gradient average, 0 where it keeps none
    "direction_rms",  # last update per unit of learning rate: rms over its non-zero entries
    "gradient_dot_update",  # pending gradient . last update
    "previous_dot_update",  # the gradient that made the last update . last update
)
RAW_INDEX = {name: index for index, name in enumerate(RAW_STATISTICS)}

DRY_RUN = 20
"""Updates by the first gradient, each from the first weights, after which a direction is read.

The very first is no measure of what follows: with a momentum of 0.9 it is a tenth of later ones
of SGD, and ten times those of RMSprop, whose average of squares begins at 0.
"""


class LayerStatistics:
    """Measures the layers of one module while an optimizer trains it.

    Holds two copies of the weights: as they began, and the last update. `before_update` and
    `after_update` bracket the update that precedes a decision; `read` is called at the decision,
    with the next gradient in place.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer], optimizer: Optimizer) -> None:
        parameters = dict(model.named_parameters())
        self._layers = [[parameters[name] for name in layer.parameter_names] for layer in layers]
        self._optimizer = optimizer
        first = self._layers[0][0]
        self._dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
        self._initial: list[list[Tensor]] = [[] for _ in layers]
        self._update: list[list[Tensor]] = [[] for _ in layers]
        self._previous_dot = [first.new_zeros((), dtype=self._dtype)] * len(layers)
        self._direction = list(self._previous_dot)
        self.begin()

    @torch.no_grad()
    def begin(self) -> None:
        """Take the weights for the initial ones, as they are and where they are now."""
        for index, group in enumerate(self._layers):
            self._initial[index] = [p.detach().clone() for p in group]
            self._update[index] = [torch.zeros_like(p) for p in group]
            self._previous_dot[index] = group[0].new_zeros((), dtype=self._dtype)

    @property
    def still(self) -> bool:
        """Whether the last update that was looked at changed nothing of any layer."""
        return not any(float(own) > 0.0 for own in self._direction)

    @torch.no_grad()
    def before_update(self) -> None:
        """Remember the weights that the optimizer is about to change."""
        for group, kept in zip(self._layers, self._update, strict=True):
            torch._foreach_copy_(kept, [p.detach() for p in group])

    @torch.no_grad()
    def after_update(self, learning_rates: Sequence[float]) -> None:
        """Measure the update just made at `learning_rates`, one for each layer."""
        for index, (group, kept) in enumerate(zip(self._layers, self._update, strict=True)):
            torch._foreach_neg_(kept)
            torch._foreach_add_(kept, [p.detach() for p in group])
            # A fused step under a gradient scaler has unscaled them in place by now.
            gradients = [pending_gradient(p, self._optimizer, scaled=False) for p in group]
            self._previous_dot[index] = self._dot(gradients, kept)
            self._direction[index] = self._direction_rms(kept, learning_rates[index])

    @torch.no_grad()
    def probe(self, updated: Mapping[int, Tensor], learning_rates: Sequence[float]) -> None:
        """Take the direction of coming updates from a dry run's `updated` weights."""
        for index, group in enumerate(self._layers):
            own = [p.detach() for p in group]
            change = torch._foreach_sub([updated.get(id(p), p.detach()) for p in group], own)
            self._direction[index] = self._direction_rms(change, learning_rates[index])

    @torch.no_grad()
    def read(self) -> Tensor:
        """Return the raw statistics `[L, R]` on the CPU, in float32 (float64 for such models)."""
        options = {id(p): group for group in self._optimizer.param_groups for p in group["params"]}
        rows = [self._row(index, options) for index in range(len(self._layers))]
        # Layers may lie on several devices; where they do not, a GPU is waited for once.
        return torch.stack([row.to(rows[0].device) for row in rows]).cpu()

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics' memory, as plain tensors (two copies of the weights)."""
        return {
            "initial": [[tensor.clone() for tensor in group] for group in self._initial],
            "update": [[tensor.clone() for tensor in group] for group in self._update],
            "previous_dot": [value.clone() for value in self._previous_dot],
            "direction": [value.clone() for value in self._direction],
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, made by `state_dict` of the same layers.

        Raises:
            ModelError: a layer has another shape there; nothing was changed.
        """
        pairs = [("initial", self._initial), ("update", self._update)]
        for name, own in pairs:
            for kept, loaded in zip(own, state[name], strict=True):
                if [tensor.shape for tensor in kept] != [tensor.shape for tensor in loaded]:
                    raise ModelError(
                        "This controller state belongs to a model with layers of other sizes: load "
                        "it into the model that it was saved with."
                    )
        # A checkpoint is often read onto the CPU, wherever the model is.
        placed = {
            name: [
                value.to(group[0].device, copy=True)
                for value, group in zip(state[name], self._layers, strict=True)
            ]
            for name in ("previous_dot", "direction")
        }
        for name, own in pairs:
            for kept, loaded in zip(own, state[name], strict=True):
                torch._foreach_copy_(kept, list(loaded))
        self._previous_dot[:], self._direction[:] = placed["previous_dot"], placed["direction"]

    def _row(self, index: int, options: Mapping[int, Mapping[str, Any]]) -> Tensor:
        group = self._layers[index]
        gradients = [pending_gradient(p, self._optimizer) for p in group]
        distance = torch._foreach_sub([p.detach() for p in group], self._initial[index])
        return torch.stack([
            self._dot(group, group),
            self._dot(distance, distance),
            self._dot(gradients, gradients),
            self._momentum_sq(group, options),
            self._direction[index],
            self._dot(gradients, self._update[index]),
            self._previous_dot[index],
        ])  # fmt: skip

    def _dot(self, left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
        parts = [torch.dot(self._flat(a), self._flat(b)) for a, b in zip(left, right, strict=True)]
        return torch.stack(parts).sum()

    def _flat(self, tensor: Tensor) -> Tensor:
        own = tensor.detach()
        return (torch.view_as_real(own) if own.is_complex() else own).flatten().to(self._dtype)

    def _direction_rms(self, change: Sequence[Tensor], learning_rate: float) -> Tensor:
        moved = torch.stack([torch.count_nonzero(tensor) for tensor in change]).sum()
        rms = (self._dot(change, change) / moved.clamp(min=1)).sqrt()
        return rms / learning_rate if learning_rate > 0 else torch.zeros_like(rms)

    def _momentum_sq(
        self, group: Sequence[Tensor], options: Mapping[int, Mapping[str, Any]]
    ) -> Tensor:
        averages = [
            gradient_average(self._optimizer.state.get(p, {}), options.get(id(p), {}))
            for p in group
        ]
        known = [average for average in averages if average is not None]
        if not known:
            return torch.zeros((), dtype=self._dtype, device=group[0].device)
        return self._dot(known, known)


def gradient_average(state: Mapping[str, Any], options: Mapping[str, Any]) -> Tensor | None:
    """Return an optimizer's average of past gradients, debiased; None where it keeps none.

    `state` is the optimizer's of one parameter, `options` its parameter group. `exp_avg` of the
    Adam family (Kingma and Ba 2015, algorithm 1) is divided by 1 - beta1^t; a
    `momentum_buffer` of gradients, a discounted sum, by what its weights add up to in the long run
    (Muon's is an average already).
    """
    if "exp_avg" in state and "betas" in options and "step" in state:
        debias = 1.0 - options["betas"][0] ** max(1.0, float(state["step"]))
        return torch.div(state["exp_avg"], debias)
    # RMSprop's buffer is one of updates, not of gradients.
    buffer = None if "square_avg" in state else state.get("momentum_buffer")
    if buffer is not None and "ns_steps" in options:
        return torch.as_tensor(buffer)
    if buffer is not None and options.get("momentum", 1.0) < 1.0:
        enters = 1.0 - options.get("dampening", 0.0)
        return torch.mul(buffer, (1.0 - options["momentum"]) / enters) if enters > 0 else None
    return None
