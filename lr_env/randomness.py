"""Seeded random streams that leave the global generators as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(seed: int, *keys: int | str) -> int:
    """Return a 63-bit seed for the stream named by `keys`, independent of other streams."""
    words: list[int] = []
    for key in keys:
        own = key.encode() if isinstance(key, str) else int(key).to_bytes(8, "little")
        words += [len(own), *own]
    sequence = np.random.SeedSequence([int(seed), len(words), *words])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def numpy_generator(seed: int, *keys: int | str) -> np.random.Generator:
    """Return the NumPy generator of the stream named by `keys`."""
    return np.random.default_rng(derive_seed(seed, *keys))


def torch_generator(seed: int, *keys: int | str) -> torch.Generator:
    """Return the torch (CPU) generator of the stream named by `keys`."""
    return torch.Generator().manual_seed(derive_seed(seed, *keys))


class IsolatedTorchRandomness:
    """A private state of torch's global CPU generator, for code that draws from it.

    Modules initialise their weights and dropout draws its masks from the global generator;
    inside `use()` that generator holds this object's `state`, outside it the caller's.
    """

    def __init__(self, seed: int, *keys: int | str) -> None:
        self.state = torch_generator(seed, *keys).get_state()

    @contextmanager
    def use(self) -> Iterator[None]:
        """Swap this state in, and back out with its progress kept."""
        outside = torch.get_rng_state()
        torch.set_rng_state(self.state)
        try:
            yield
        finally:
            self.state = torch.get_rng_state()
            torch.set_rng_state(outside)
