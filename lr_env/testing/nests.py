"""Nests of tensors, arrays and plain values: whether they are equal, and the samples in them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def equal(one: Any, other: Any) -> bool:
    """Return whether two nests are equal; NaN equals NaN."""
    if isinstance(one, Tensor | np.ndarray) and isinstance(other, Tensor | np.ndarray):
        return _bytes(one) == _bytes(other) and one.shape == other.shape
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return equal_passes(one, other)
    return type(one) is type(other) and bool(one == other)


def equal_passes(one: Iterable[Any], other: Iterable[Any]) -> bool:
    """Return whether two streams are equal, with no more than one of their parts in memory."""
    end = object()
    return all(equal(*pair) for pair in itertools.zip_longest(one, other, fillvalue=end))


def length(batch: Any) -> int:
    """Return the number of samples in `batch`: the length of its first tensor or array.

    Raises ValueError if it holds neither.
    """
    for leaf in leaves(batch):
        return len(leaf)
    raise ValueError("a batch holds neither tensors nor arrays")


def sample_hashes(batches: Iterable[Any]) -> list[bytes]:
    """Return a hash of each sample: its rows of every tensor and array of its batch."""
    hashes = []
    for batch in batches:
        rows = length(batch)
        columns = [leaf for leaf in leaves(batch) if len(leaf) == rows]
        for row in range(rows):
            content = b"".join(_bytes(column[row]) for column in columns)
            hashes.append(hashlib.blake2b(content, digest_size=16).digest())
    return hashes


def leaves(nest: Any) -> Iterator[Tensor | np.ndarray[Any, Any]]:
    """Yield the tensors and arrays in `nest` that have a first dimension."""
    if isinstance(nest, Tensor | np.ndarray):
        if nest.ndim:
            yield nest
    elif isinstance(nest, Mapping | list | tuple):
        for part in nest.values() if isinstance(nest, Mapping) else nest:
            yield from leaves(part)


def _bytes(values: Any) -> bytes:
    if isinstance(values, Tensor):
        # Through uint8, because NumPy has no bfloat16.
        flat = values.detach().cpu().contiguous().reshape(-1)
        return flat.view(torch.uint8).numpy().tobytes()
    return np.asarray(values).tobytes()
