"""Where a run computes: a GPU if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lr_env.randomness import IsolatedTorchRandomness, derive_seed


def device_here() -> str:
    """Return `cuda` where this process can use a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


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
