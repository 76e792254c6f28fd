"""torch.optim's arithmetic for N trainings at once, on flat `[N, P]` matrices.

Each equals its namesake in torch.optim step by step; `arguments` are the namesake's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.optimizers import USUAL_ARGUMENTS, build_optimizer

State = dict[str, Tensor]


class StackedOptimizer(ABC):
    """One update rule; its state is a dictionary of `[N, P]` tensors that the caller keeps."""

    slots: ClassVar[tuple[str, ...]] = ()
    supported: ClassVar[tuple[str, ...]] = ()

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = dict(arguments)

    def without_decay(self) -> StackedOptimizer:
        """Return the same rule without weight decay."""
        return type(self)({**self.arguments, "weight_decay": 0.0})

    def init(self, like: Tensor) -> State:
        """Return the state before the first update."""
        return {name: torch.zeros_like(like) for name in self.slots}

    def factors(self, step: Tensor) -> Tensor:
        """Return what depends on the step alone `[N, K]`; `step [N, 1]` counts from 1."""
        return step.new_empty((len(step), 0))

    @abstractmethod
    def update(
        self, params: Tensor, grad: Tensor, state: State, lr: Tensor, factors: Tensor
    ) -> None:
        """Update `params` and `state` in place; `lr [N, P]`, `factors [N, K]` of this step."""

    def gradient_average(self, state: State, factors: Tensor) -> Tensor | None:
        """Return the average of past gradients, debiased as `statistics.gradient_average`."""
        return None


class StackedAdam(StackedOptimizer):
    """Adam (Kingma and Ba 2015, algorithm 1), with torch's placement of epsilon."""

    slots = ("exp_avg", "exp_avg_sq")
    supported = ("betas", "eps", "weight_decay")
    decoupled = False

    def factors(self, step: Tensor) -> Tensor:
        """Return 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t), the debiasing of the moments."""
        beta1, beta2 = self.arguments["betas"]
        return torch.cat([1.0 / (1.0 - beta1**step), (1.0 - beta2**step).rsqrt()], 1)

    def update(
        self, params: Tensor, grad: Tensor, state: State, lr: Tensor, factors: Tensor
    ) -> None:
        """See the base class."""
        beta1, beta2 = self.arguments["betas"]
        decay = self.arguments["weight_decay"]
        if decay and self.decoupled:
            params.mul_(1.0 - lr * decay)
        elif decay:
            grad = grad.add(params, alpha=decay)
        state["exp_avg"].lerp_(grad, 1.0 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
        denominator = state["exp_avg_sq"].sqrt().mul_(factors[:, 1:])
        denominator.add_(self.arguments["eps"])
        params.sub_(state["exp_avg"].div(denominator).mul_(lr * factors[:, :1]))

    def gradient_average(self, state: State, factors: Tensor) -> Tensor:
        """See the base class."""
        return state["exp_avg"] * factors[:, :1]


class StackedAdamW(StackedAdam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2)."""

    decoupled = True


class StackedAdamax(StackedAdam):
    """Adam in the infinity norm (Kingma and Ba 2015, algorithm 2), epsilon where torch has it."""

    slots = ("exp_avg", "exp_inf")

    def update(
        self, params: Tensor, grad: Tensor, state: State, lr: Tensor, factors: Tensor
    ) -> None:
        """See the base class."""
        beta1, beta2 = self.arguments["betas"]
        if self.arguments["weight_decay"]:
            grad = grad.add(params, alpha=self.arguments["weight_decay"])
        state["exp_avg"].lerp_(grad, 1.0 - beta1)
        largest = state["exp_inf"].mul_(beta2).maximum(grad.abs().add(self.arguments["eps"]))
        state["exp_inf"].copy_(largest)
        params.sub_(state["exp_avg"].div(state["exp_inf"]).mul_(lr * factors[:, :1]))


class StackedSGD(StackedOptimizer):
    """SGD with heavy-ball momentum, as torch writes it."""

    slots = ("momentum_buffer",)
    supported = ("momentum", "weight_decay")

    def update(
        self, params: Tensor, grad: Tensor, state: State, lr: Tensor, factors: Tensor
    ) -> None:
        """See the base class."""
        if self.arguments["weight_decay"]:
            grad = grad.add(params, alpha=self.arguments["weight_decay"])
        state["momentum_buffer"].mul_(self.arguments["momentum"]).add_(grad)
        params.sub_(state["momentum_buffer"] * lr)

    def gradient_average(self, state: State, factors: Tensor) -> Tensor | None:
        """See the base class."""
        momentum = self.arguments["momentum"]
        return state["momentum_buffer"] * (1.0 - momentum) if momentum else None


class StackedRMSprop(StackedOptimizer):
    """RMSprop without momentum (Hinton 2012, lecture 6e), as torch writes it."""

    slots = ("square_avg",)
    supported = ("alpha", "eps", "weight_decay")

    def update(
        self, params: Tensor, grad: Tensor, state: State, lr: Tensor, factors: Tensor
    ) -> None:
        """See the base class."""
        alpha = self.arguments["alpha"]
        if self.arguments["weight_decay"]:
            grad = grad.add(params, alpha=self.arguments["weight_decay"])
        state["square_avg"].mul_(alpha).addcmul_(grad, grad, value=1.0 - alpha)
        params.sub_(grad.div(state["square_avg"].sqrt().add_(self.arguments["eps"])).mul_(lr))


STACKED_OPTIMIZERS: dict[str, type[StackedOptimizer]] = {
    "adam": StackedAdam,
    "adamax": StackedAdamax,
    "adamw": StackedAdamW,
    "rmsprop": StackedRMSprop,
    "sgd": StackedSGD,
}


def build_stacked_optimizer(
    name: str, arguments: Mapping[str, Any] | None = None
) -> StackedOptimizer:
    """Build a stacked optimizer; arguments not given have torch's (or the project's) defaults.

    Raises:
        UnknownNameError, InvalidArgumentError: no such optimizer or argument.
    """
    if name not in STACKED_OPTIMIZERS:
        raise UnknownNameError("stacked optimizer", name, STACKED_OPTIMIZERS)
    kind = STACKED_OPTIMIZERS[name]
    chosen = {**USUAL_ARGUMENTS.get(name, {}), **(arguments or {})}
    for key in chosen:
        if key not in kind.supported:
            raise InvalidArgumentError(
                f"Stacked {name} takes {', '.join(kind.supported)}, not {key!r}."
            )
    # torch's own defaults, read from torch itself.
    probe = build_optimizer(name, [torch.nn.Parameter(torch.zeros(1))], 1.0)
    return kind({key: chosen.get(key, probe.defaults[key]) for key in kind.supported})
