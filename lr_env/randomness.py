"""Seeded random streams that leave the global generators as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


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
    """A private state of torch's global generator, for code that draws from it.

    Modules initialise their weights and dropout draws its masks from the global generator of
    their device; inside `use()` that generator holds this object's `state`, outside it the
    caller's. On a GPU the same seed draws other numbers than on the CPU.
    """

    def __init__(self, seed: int, *keys: int | str, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        generator = torch.Generator(self._device).manual_seed(derive_seed(seed, *keys))
        self.state = generator.get_state()

    @contextmanager
    def use(self) -> Iterator[None]:
        """Swap this state in, and back out with its progress kept."""
        outside = self._get()
        self._set(self.state)
        try:
            yield
        finally:
            self.state = self._get()
            self._set(outside)

    def _get(self) -> Tensor:
        on_gpu = self._device.type == "cuda"
        return torch.cuda.get_rng_state(self._device) if on_gpu else torch.get_rng_state()

    def _set(self, state: Tensor) -> None:
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state, self._device)
        else:
            torch.set_rng_state(state)
