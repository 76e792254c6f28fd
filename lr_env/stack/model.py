"""N modules of one architecture as one function of flat parameters, through `torch.func.vmap`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lr_env.errors import ModelError

LossFunction = Callable[[Tensor, Tensor], Tensor]
Buffers = dict[str, Tensor]


class StackedModel:
    """The arithmetic of n modules with parameters `[n, P]` and stacked buffers `[n, ...]`.

    A flat layout lets optimizers and statistics work on single large tensors; the module sees
    views of it. Buffers (BatchNorm's running statistics) are stacked by name.
    """

    def __init__(self, template: nn.Module, loss: LossFunction) -> None:
        self.template = template
        self._shapes = {name: p.shape for name, p in template.named_parameters()}
        if not all(p.requires_grad for p in template.parameters()):
            raise ModelError("A stack trains whole networks: it takes no frozen parameters.")
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self._loss = loss

    @property
    def size(self) -> int:
        """The number of scalars in one module's parameters."""
        return sum(self._sizes)

    def buffers(self, num: int) -> Buffers:
        """Return the template's buffers, stacked for `num` modules."""
        return {
            name: buffer.detach().expand(num, *buffer.shape).clone()
            for name, buffer in self.template.named_buffers()
        }

    def flatten(self, module: nn.Module) -> Tensor:
        """Return a module's parameters `[P]`.

        Raises:
            ModelError: its architecture differs from the stack's.
        """
        shapes = {name: p.shape for name, p in module.named_parameters()}
        if shapes != self._shapes:
            raise ModelError(
                "The task's model changed its parameters from one seed to another: fix its "
                "architecture through task_arguments, since lanes of a stack share one."
            )
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    def differentiate(
        self, flat: Tensor, buffers: Buffers, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return losses `[n]` and gradients `[n, P]` in train mode, buffers updated in place.

        `flat [n, P]`, `inputs [n, B, ...]`, `targets [n, B]`.
        """
        self.template.train()
        with torch.enable_grad():
            leaves = {name: p.detach().requires_grad_() for name, p in self._views(flat).items()}
            losses = self._losses(leaves, buffers, inputs, targets)
            # The trainings are independent, so the gradient of the sum is each one's own.
            gradients = torch.autograd.grad(losses.sum(), list(leaves.values()))
        return losses.detach(), torch.cat([own.flatten(1) for own in gradients], 1)

    @torch.no_grad()
    def evaluate(self, flat: Tensor, buffers: Buffers, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return losses `[n]` in eval mode on `inputs [n, m, ...]`, `targets [n, m]`."""
        self.template.eval()
        return self._losses(self._views(flat), buffers, inputs, targets)

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        parts = zip(self._shapes.items(), torch.split(flat, self._sizes, 1), strict=True)
        return {name: values.view(len(flat), *shape) for (name, shape), values in parts}

    def _losses(
        self, parameters: dict[str, Tensor], buffers: Buffers, inputs: Tensor, targets: Tensor
    ) -> Tensor:
        def loss(p: dict[str, Tensor], b: Buffers, x: Tensor, y: Tensor) -> Tensor:
            outputs: Any = functional_call(self.template, (p, b), (x,))
            return self._loss(outputs, y)

        losses: Tensor = vmap(loss, randomness="different")(parameters, buffers, inputs, targets)
        return losses
