"""Adam-HD against a computation by hand, and against torch's Adam."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from experiments.arms.hypergradient import AdamHD
from lr_env.errors import InvalidArgumentError


def test_two_steps_by_hand() -> None:
    # Gradients 2 and -1 of one weight; beta1 = 0.5, beta2 = 0.9, eps = 0.
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = AdamHD([weight], lr=0.1, hypergradient_lr=0.01, betas=(0.5, 0.9), eps=0.0)
    weight.grad = torch.tensor([2.0], dtype=torch.float64)
    optimizer.step()
    # Debiased averages are the first gradient and its square: direction 2 / 2 = 1.
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert weight.item() == pytest.approx(1.0 - 0.1)
    weight.grad = torch.tensor([-1.0], dtype=torch.float64)
    optimizer.step()
    # The rate moves by 0.01 * (-1 * 1); m = 0.5 * 1 + 0.5 * -1 = 0.
    rate = 0.1 - 0.01
    mean = (0.5 * (0.5 * 2.0) + 0.5 * -1.0) / (1 - 0.5**2)
    square = (0.9 * (0.1 * 4.0) + 0.1 * 1.0) / (1 - 0.9**2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
    assert weight.item() == pytest.approx(0.9 - rate * mean / math.sqrt(square))
    weight.grad = torch.tensor([3.0], dtype=torch.float64)
    optimizer.step()
    # The second direction was 0: the rate stays.
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def train(optimizer_of: type[torch.optim.Optimizer], **arguments: float) -> list[torch.Tensor]:
    model = nn.Linear(4, 3, dtype=torch.float64)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.linspace(-1, 1, p.numel(), dtype=torch.float64).reshape(p.shape))
    optimizer = optimizer_of(model.parameters(), **arguments)  # type: ignore[arg-type]
    inputs = torch.linspace(0, 1, 20, dtype=torch.float64).reshape(5, 4)
    for _ in range(30):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
    return [p.detach() for p in model.parameters()]


def test_a_rate_that_never_moves_is_adam() -> None:
    own = train(AdamHD, lr=0.01, hypergradient_lr=0.0)
    for ours, theirs in zip(own, train(torch.optim.Adam, lr=0.01), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_the_rate_follows_its_derivative() -> None:
    # d loss / d lr at the second step, by finite differences of the first step's rate.
    def loss_after(lr: float) -> float:
        weight = nn.Parameter(torch.tensor([2.0, -1.0], dtype=torch.float64))
        optimizer = AdamHD([weight], lr=lr)
        weight.square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(weight.detach().square().sum())

    slope = (loss_after(0.1 + 1e-6) - loss_after(0.1 - 1e-6)) / 2e-6
    weight = nn.Parameter(torch.tensor([2.0, -1.0], dtype=torch.float64))
    optimizer = AdamHD([weight], lr=0.1, hypergradient_lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        weight.square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert optimizer.param_groups[0]["lr"] - 0.1 == pytest.approx(-1e-3 * slope, rel=1e-5)


def test_an_unusable_rate() -> None:
    with pytest.raises(InvalidArgumentError, match="lr must be above 0"):
        AdamHD([nn.Parameter(torch.ones(1))], lr=0.0)
