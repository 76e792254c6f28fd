"""What tasks share when they look at a model: its mode, its device and its scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lr_env.devices import placed


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put `model` into eval mode, and back into the mode that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def on_device_of(model: nn.Module, batch: Any) -> Any:
    """Return `batch`, a nest of tensors, on the device of the model's parameters."""
    device = next((own.device for own in model.parameters()), torch.device("cpu"))
    return placed(batch, device)


def binary_scores(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Return precision, recall and F1 of class 1 of two; 0 where nothing is said or is there."""
    said, true = logits.argmax(-1) == 1, targets == 1
    hits = int((said & true).sum())
    return {
        "precision": hits / max(int(said.sum()), 1),
        "recall": hits / max(int(true.sum()), 1),
        "f1": 2 * hits / max(int(said.sum()) + int(true.sum()), 1),
    }


def accuracy(logits: Tensor, targets: Tensor) -> float:
    """Return the share of rows whose largest logit is the target's."""
    return float((logits.argmax(-1) == targets).double().mean())


def commonest_share(labels: Tensor) -> float:
    """Return the share of the commonest class in `labels` `[n]`: a constant guess' accuracy."""
    return float(labels.bincount().max()) / len(labels)
