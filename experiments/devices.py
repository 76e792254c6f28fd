"""Where a run computes: a GPU if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lr_env.randomness import IsolatedTorchRandomness, derive_seed


def device_here() -> str:
    """Return `cuda` where this process can use a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def to_device(batch: Any, device: str) -> Any:
    """Return a batch of tensors (a tensor, tuple, list or mapping of such) on `device`."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {name: to_device(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


@contextmanager
def seeded(seed: int, stream: str, device: str) -> Iterator[None]:
    """Let everything drawn meanwhile, on the CPU and on `device`, come from a seeded stream."""
    with IsolatedTorchRandomness(seed, stream).use():
        if device == "cpu":
            yield
            return
        with torch.random.fork_rng():
            torch.cuda.manual_seed_all(derive_seed(seed, stream))
            yield
