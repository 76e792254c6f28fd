"""Stacked optimizers are torch.optim, step by step."""

import pytest
import torch
from torch import nn

from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.optimizers import build_optimizer
from lr_env.stack.optimizers import build_stacked_optimizer

CASES = [
    ("adam", {}),
    ("adam", {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}),
    ("adamw", {"weight_decay": 0.1}),
    ("adamax", {}),
    ("adamax", {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}),
    ("sgd", {}),
    ("sgd", {"momentum": 0.0, "weight_decay": 0.01}),
    ("rmsprop", {"alpha": 0.9, "weight_decay": 0.01}),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_fifty_steps_equal_torch(name: str, arguments: dict) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    rates = torch.tensor([[1e-3], [3e-2]], dtype=torch.float64).expand(2, 7)
    singles = [nn.Parameter(row.clone()) for row in start]
    theirs = [
        build_optimizer(name, [single], float(rate[0]), arguments)
        for single, rate in zip(singles, rates, strict=True)
    ]
    ours = build_stacked_optimizer(name, arguments)
    flat, state = start.clone(), ours.init(start)
    for step in range(1, 51):
        gradient = torch.randn(2, 7, generator=generator, dtype=torch.float64)
        for single, row, optimizer in zip(singles, gradient, theirs, strict=True):
            single.grad = row.clone()
            optimizer.step()
        count = torch.full((2, 1), float(step), dtype=torch.float64)
        ours.update(flat, gradient, state, rates, ours.factors(count))
        gap = (flat - torch.stack([single.detach() for single in singles])).abs().max()
        assert gap <= 1e-10


def test_unknown_names_and_arguments_are_one_sentence() -> None:
    with pytest.raises(UnknownNameError, match="adamw"):
        build_stacked_optimizer("adamww")
    with pytest.raises(InvalidArgumentError, match="amsgrad"):
        build_stacked_optimizer("adam", {"amsgrad": True})
