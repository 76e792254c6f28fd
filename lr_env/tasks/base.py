"""What a training problem is: data with a fixed split per seed, a model and a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from lr_env.errors import InvalidArgumentError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Task(ABC):
    """One training problem. A task and a seed make an instance: its split never changes.

    Train data is for updates, validation data for reward and choices, test data for the
    figures that are reported, once.

    Attributes:
        name: the registered name.
        batch_size: mini-batch size of the task's recipe.
        epochs: passes over the training data of the task's recipe.
        target_accuracy: validation accuracy whose first reaching is the convergence time.
        overlapping_splits: whether splits of different seeds share samples, so that their
            results are not independent.
    """

    name: ClassVar[str] = ""
    batch_size: int = 32
    epochs: int = 50
    target_accuracy: float | None = None
    overlapping_splits: ClassVar[bool] = False

    def __init__(self, seed: int = 42) -> None:
        if seed < 0:
            raise InvalidArgumentError(f"seed must be at least 0, not {seed}.")
        self.seed = seed

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Return a freshly initialised model, drawing from torch's global generator.

        Callers seed that generator around the call (`lr_env.randomness`).
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the scalar mean loss of `model` on `batch`."""

    @abstractmethod
    def size(self, split: Split) -> int:
        """Return the number of samples in `split`."""

    @abstractmethod
    def batches(
        self, split: Split, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[Any]:
        """Yield one pass over `split`: shuffled by `generator`, in order without one.

        With a generator the incomplete last batch is dropped (all batches have equal size
        unless the split is smaller than one batch); without one every sample comes once.
        """

    @abstractmethod
    def metrics(self, model: nn.Module, split: Split) -> Mapping[str, float]:
        """Return `loss` and the task's other metrics of `model` in eval mode on `split`.

        The model's train/eval mode is left as it was.
        """

    def is_pretrained(self, parameter_name: str) -> bool:
        """Return whether that parameter starts from pretrained weights."""
        return False

    def guess_accuracy(self, split: Split) -> float | None:
        """Return the accuracy of always guessing the commonest class; None without classes."""
        return None

    def describe(self) -> dict[str, Any]:
        """Return what a record should say of the instance: sizes, hashes, sources."""
        return {
            "name": self.name,
            "seed": self.seed,
            "sizes": {split: self.size(split) for split in SPLITS},
        }

    def steps_per_epoch(self, batch_size: int) -> int:
        """Return the number of optimizer steps in one pass over the training data."""
        return max(1, self.size("train") // batch_size)
