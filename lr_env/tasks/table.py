"""What tasks on tables share: stratified splits, standard networks, hashes of the data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lr_env.randomness import numpy_generator
from lr_env.tasks.base import Split

SHARES: dict[Split, float] = {"train": 0.6, "validation": 0.2, "test": 0.2}


def stratified_rows(labels: NDArray[np.int64], seed: int) -> dict[Split, NDArray[np.int64]]:
    """Return row numbers of the splits (60/20/20), each class in the same shares in all."""
    random = numpy_generator(seed, "split")
    rows: dict[Split, list[NDArray[np.int64]]] = {split: [] for split in SHARES}
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        test = round(SHARES["test"] * len(own))
        validation = round(SHARES["validation"] * len(own))
        parts = (own[test + validation :], own[test : test + validation], own[:test])
        for split, part in zip(SHARES, parts, strict=True):
            rows[split].append(part)
    return {split: random.permutation(np.concatenate(parts)) for split, parts in rows.items()}


def tensor_splits(
    inputs: NDArray[np.float64],
    labels: NDArray[np.int64],
    rows: dict[Split, NDArray[np.int64]],
) -> dict[Split, tuple[Tensor, Tensor]]:
    """Return `(inputs float32, targets int64)` for each split."""
    return {
        split: (
            torch.from_numpy(inputs[own].astype(np.float32)),
            torch.from_numpy(labels[own].astype(np.int64)),
        )
        for split, own in rows.items()
    }


def standardise(inputs: NDArray[np.float64], train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return columns with mean 0 and deviation 1 on the training rows."""
    mean, deviation = inputs[train].mean(0), inputs[train].std(0)
    scaled: NDArray[np.float64] = (inputs - mean) / np.where(deviation > 0, deviation, 1.0)
    return scaled


def multilayer_perceptron(
    inputs: int, hidden: Sequence[int], classes: int, dropout: float = 0.0
) -> nn.Sequential:
    """Return Linear, ReLU (and Dropout) for each hidden width, then the logits."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


def content_hash(*arrays: NDArray[np.generic]) -> str:
    """Return a short hash of the arrays' contents, for records."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
