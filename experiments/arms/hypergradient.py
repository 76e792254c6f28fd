"""Adam whose learning rate descends its own gradient (Baydin et al. 2018, Adam-HD)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lr_env.errors import InvalidArgumentError


class AdamHD(Optimizer):
    """Adam with hypergradient descent (Baydin, Cornish, Martinez Rubio, Schmidt and Wood 2018).

    An update moves the weights by `-lr * d`, with Adam's direction `d = m / (sqrt(v) + eps)` (both
    debiased). The loss after it has the derivative `-g' d` by that rate, so before each step

        lr <- lr + hypergradient_lr * (g' d)

    with today's gradient `g'` and the last direction `d`, summed over the group's parameters: one
    rate for each group, in `group["lr"]`. Nothing bounds it, as published.

    Args:
        params: parameters or parameter groups.
        lr: the rate to start from.
        hypergradient_lr: step size of the rate itself.
        betas: decay of the averages of gradients and of their squares.
        eps: added to the denominator.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        hypergradient_lr: float = 1e-7,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if not lr > 0.0 or not hypergradient_lr >= 0.0:
            raise InvalidArgumentError(
                f"lr must be above 0 and hypergradient_lr at least 0, not {lr} and "
                f"{hypergradient_lr}."
            )
        defaults = {"lr": lr, "hypergradient_lr": hypergradient_lr, "betas": betas, "eps": eps}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every group's rate, then its weights; return the closure's loss if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [p for p in group["params"] if p.grad is not None]
            if moving:
                self._step_group(group, moving)
        return loss

    def _step_group(self, group: dict[str, Any], moving: list[Tensor]) -> None:
        gradients = [p.grad for p in moving if p.grad is not None]
        known = [(p, g) for p, g in zip(moving, gradients, strict=True) if self.state[p]]
        if known:
            last = self._directions(group, [p for p, _ in known])
            slope = sum(torch.sum(g * d) for (_, g), d in zip(known, last, strict=True))
            group["lr"] = group["lr"] + group["hypergradient_lr"] * float(slope)
        first, second = group["betas"]
        for p in moving:
            if not self.state[p]:
                self.state[p] = {
                    "step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p),
                }  # fmt: skip
            self.state[p]["step"] += 1
        averages = [self.state[p]["exp_avg"] for p in moving]
        squares = [self.state[p]["exp_avg_sq"] for p in moving]
        torch._foreach_lerp_(averages, gradients, 1.0 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - second)
        torch._foreach_add_(moving, self._directions(group, moving), alpha=-group["lr"])

    def _directions(self, group: dict[str, Any], parameters: list[Tensor]) -> list[Tensor]:
        """Return Adam's directions from the averages as they stand (Kingma and Ba 2015)."""
        first, second = group["betas"]
        directions = []
        for p in parameters:
            state = self.state[p]
            mean = state["exp_avg"] / (1.0 - first ** state["step"])
            root = (state["exp_avg_sq"] / (1.0 - second ** state["step"])).sqrt_()
            directions.append(mean.div_(root.add_(group["eps"])))
        return directions
