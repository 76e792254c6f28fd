"""The optimizer of an arm, and the weights that it wants to be judged by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from experiments.arms.hypergradient import AdamHD
from experiments.arms.layerwise import layerwise_groups
from experiments.arms.methods import HYPERGRADIENT_LR
from experiments.arms.names import Arm
from lr_env.errors import LrEnvError
from lr_env.randomness import IsolatedTorchRandomness, torch_generator
from lr_env.tasks import Task

STATISTICS_BATCHES = 50
"""Batches that BatchNorm's statistics are taken anew from, as schedulefree's README advises."""


class MissingPackageError(LrEnvError):
    """An arm whose library is not installed."""


def build_optimizer(arm: Arm, model: nn.Module, total_steps: int = 1) -> Optimizer:
    """Return the arm's optimizer.

    Raises:
        MissingPackageError: its library is not installed.
        ModelError: the arm does not fit the model.
    """
    method = arm.method
    if method.layer_decay is not None:
        return torch.optim.Adam(layerwise_groups(model, arm.lr, method.layer_decay), fused=True)
    if method.optimizer == "adam-hd":
        return AdamHD(model.parameters(), arm.lr, HYPERGRADIENT_LR)
    if method.optimizer == "schedule-free":
        library = import_library(arm)
        warmup = max(1, total_steps // 10)
        optimizer: Optimizer = library.AdamWScheduleFree(
            model.parameters(), lr=arm.lr, warmup_steps=warmup
        )
        return optimizer
    if method.optimizer == "prodigy":
        optimizer = import_library(arm).Prodigy(model.parameters(), lr=arm.lr)
        return optimizer
    # One pass over the weights: a third off the time of ResNet-18's step on a CPU.
    return torch.optim.Adam(model.parameters(), lr=arm.lr, fused=True)


def import_library(arm: Arm) -> Any:
    """Return the module of the arm's library. Raises MissingPackageError."""
    package = arm.method.package
    if package is None:
        raise ValueError(f"{arm.name} needs no library.")
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"Arm {arm.name} needs the package {package!r} ({error}): install the extra "
            "'experiments', or leave the arm out."
        ) from error


def training_mode(optimizer: Optimizer) -> None:
    """Tell an optimizer that keeps two sets of weights to train (schedulefree)."""
    if hasattr(optimizer, "train"):
        optimizer.train()


@contextmanager
def judged_weights(
    optimizer: Optimizer, task: Task, model: nn.Module, batch_size: int
) -> Iterator[None]:
    """Put the weights in place that the optimizer's method is judged by; the others come back.

    Schedule-Free trains one sequence of weights and is judged by their average, for which
    BatchNorm's statistics are another: they are taken anew from training data.
    """
    if not (hasattr(optimizer, "train") and hasattr(optimizer, "eval")):
        yield
        return
    normalised = [part for part in model.modules() if isinstance(part, _BatchNorm)]
    kept = [{name: b.clone() for name, b in part.named_buffers()} for part in normalised]
    optimizer.eval()
    try:
        if normalised:
            _take_statistics(task, model, batch_size)
        yield
    finally:
        optimizer.train()
        for part, buffers in zip(normalised, kept, strict=True):
            for name, buffer in part.named_buffers():
                buffer.copy_(buffers[name])


@torch.no_grad()
def _take_statistics(task: Task, model: nn.Module, batch_size: int) -> None:
    model.train()
    order = torch_generator(task.seed, "statistics")
    # Dropout would draw from the stream of masks that all arms of a seed share.
    with IsolatedTorchRandomness(task.seed, "statistics").use():
        for batch in islice(task.batches("train", batch_size, order), STATISTICS_BATCHES):
            task.loss(model, batch)
