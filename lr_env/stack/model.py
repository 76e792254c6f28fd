"""N models of one architecture as one: all parameters in a flat `[N, P]` matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lr_env.errors import ModelError

LossFunction = Callable[[Tensor, Tensor], Tensor]


class StackedModel:
    """Parameters `[N, P]`, gradients `[N, P]` and stacked buffers of N equal modules.

    A flat layout lets optimizers and statistics work on single large tensors; the module sees
    views of it. Buffers (BatchNorm's running statistics) are stacked by name.
    """

    def __init__(self, template: nn.Module, loss: LossFunction, num: int) -> None:
        self.template = template
        self.num = num
        self._shapes = {name: p.shape for name, p in template.named_parameters()}
        if not all(p.requires_grad for p in template.parameters()):
            raise ModelError("A stack trains whole networks: it takes no frozen parameters.")
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        like = next(template.parameters()).detach()
        self.flat = like.new_zeros((num, sum(self._sizes)))
        self.gradient = torch.zeros_like(self.flat)
        self.buffers = {
            name: buffer.detach().expand(num, *buffer.shape).clone()
            for name, buffer in template.named_buffers()
        }
        self._loss = loss
        self._parameters = self._leaves(self.flat)

    def load(self, lane: int, module: nn.Module) -> None:
        """Copy a module's weights and buffers into `lane`.

        Raises:
            ModelError: its architecture differs from the stack's.
        """
        shapes = {name: p.shape for name, p in module.named_parameters()}
        if shapes != self._shapes:
            raise ModelError(
                "The task's model changed its parameters from one seed to another: fix its "
                "architecture through task_arguments, since lanes of a stack share one."
            )
        with torch.no_grad():
            self.flat[lane] = torch.cat([p.detach().flatten() for p in module.parameters()])
            for name, buffer in module.named_buffers():
                self.buffers[name][lane] = buffer

    def forward_backward(self, inputs: Tensor, targets: Tensor, rows: Tensor | None) -> Tensor:
        """Compute gradients of the trainings in `rows` (all if None); return losses `[rows]`.

        `inputs [rows, B, ...]`, `targets [rows, B]`. The other rows keep their gradients and
        buffers.
        """
        self.template.train()
        if rows is None:
            return self._differentiate(
                self._parameters, self.buffers, inputs, targets, self.gradient
            )
        gradient = self.gradient.new_empty((len(rows), self.flat.shape[1]))
        buffers = {name: buffer[rows] for name, buffer in self.buffers.items()}
        leaves = self._leaves(self.flat[rows])
        losses = self._differentiate(leaves, buffers, inputs, targets, gradient)
        self.gradient[rows] = gradient
        for name, buffer in buffers.items():
            self.buffers[name][rows] = buffer
        return losses

    @torch.no_grad()
    def evaluate(self, inputs: Tensor, targets: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return losses `[rows]` in eval mode on `inputs [rows, m, ...]`, `targets [rows, m]`."""
        self.template.eval()
        if rows is None:
            return self._losses(self._parameters, self.buffers, inputs, targets)
        buffers = {name: buffer[rows] for name, buffer in self.buffers.items()}
        return self._losses(self._leaves(self.flat[rows]), buffers, inputs, targets)

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the models' outputs `[N, m, ...]` in eval mode on `inputs [N, m, ...]`."""
        self.template.eval()
        call = vmap(self._call, randomness="different")
        outputs: Tensor = call(self._parameters, self.buffers, inputs)
        return outputs

    def state_dict(self) -> dict[str, Any]:
        """Return weights, pending gradients and buffers."""
        return {
            "flat": self.flat.clone(),
            "gradient": self.gradient.clone(),
            "buffers": {name: buffer.clone() for name, buffer in self.buffers.items()},
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.flat.copy_(state["flat"])
        self.gradient.copy_(state["gradient"])
        for name, buffer in state["buffers"].items():
            self.buffers[name].copy_(buffer)

    def __getstate__(self) -> dict[str, Any]:
        # The leaves are views of the flat matrix; pickled, they would be copies.
        return {name: value for name, value in vars(self).items() if name != "_parameters"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._parameters = self._leaves(self.flat)

    def _leaves(self, flat: Tensor) -> dict[str, Tensor]:
        parts = zip(self._shapes.items(), torch.split(flat, self._sizes, 1), strict=True)
        return {
            name: values.view(len(flat), *shape).detach().requires_grad_()
            for (name, shape), values in parts
        }

    def _differentiate(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        x: Tensor,
        y: Tensor,
        out: Tensor,
    ) -> Tensor:
        losses = self._losses(parameters, buffers, x, y)
        # The trainings are independent, so the gradient of the sum is each one's own.
        gradients = torch.autograd.grad(losses.sum(), list(parameters.values()))
        torch.cat([gradient.flatten(1) for gradient in gradients], 1, out=out)
        return losses.detach()

    def _losses(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor
    ) -> Tensor:
        def loss(p: dict[str, Tensor], b: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return self._loss(self._call(p, b, x), y)

        losses: Tensor = vmap(loss, randomness="different")(parameters, buffers, x, y)
        return losses

    def _call(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Any:
        return functional_call(self.template, (parameters, buffers), (x,))
