"""Tasks whose whole data set is in memory as tensors: the common and the fast case."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from lr_env.errors import DataError
from lr_env.tasks.base import SPLITS, Split, Task
from lr_env.tasks.evaluation import accuracy, commonest_share, eval_mode, on_device_of

_EVAL_BATCH = 1024


class TensorTask(Task):
    """Classification of in-memory samples with cross-entropy.

    Subclasses hand over `splits`, one `(inputs, targets)` pair for each split: inputs
    `[n, ...]` of any dtype that the model takes, targets `[n]` of int64 classes.

    Raises:
        DataError: a split is missing, empty, or its inputs and targets differ in length.
    """

    def __init__(self, splits: Mapping[Split, tuple[Tensor, Tensor]], seed: int = 42) -> None:
        super().__init__(seed)
        for split in SPLITS:
            if split not in splits:
                raise DataError(
                    f"Task {self.name!r} has no {split} split: hand over all of {SPLITS}."
                )
            inputs, targets = splits[split]
            if len(inputs) != len(targets) or len(inputs) == 0:
                raise DataError(
                    f"Task {self.name!r}: its {split} split has {len(inputs)} inputs and "
                    f"{len(targets)} targets; both must be equal and above zero."
                )
        self._splits = dict(splits)

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Return a freshly initialised model that maps inputs to class logits `[n, classes]`."""

    def tensors(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return the whole split as `(inputs, targets)`."""
        return self._splits[split]

    def loss_from_outputs(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits `[n, classes]` against `targets` `[n]`."""
        return nn.functional.cross_entropy(outputs, targets)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean loss of `model` on `batch`."""
        inputs, targets = on_device_of(model, batch)
        return self.loss_from_outputs(model(inputs), targets)

    def size(self, split: Split) -> int:
        """Return the number of samples in `split`."""
        return len(self._splits[split][1])

    def guess_accuracy(self, split: Split) -> float | None:
        """Return the share of the commonest class in `split`."""
        return commonest_share(self._splits[split][1])

    def batches(
        self, split: Split, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one pass over `split`; see `Task.batches`."""
        inputs, targets = self._splits[split]
        if generator is None:
            yield from zip(
                *(torch.split(own, batch_size) for own in (inputs, targets)), strict=True
            )
            return
        for rows in shuffled_rows(len(targets), batch_size, generator):
            yield inputs[rows], targets[rows]

    @torch.no_grad()
    def metrics(self, model: nn.Module, split: Split) -> dict[str, float]:
        """Return the mean `loss` and the `accuracy` of `model` in eval mode on `split`."""
        logits, targets = predict(self, model, split)
        loss = float(self.loss_from_outputs(logits, targets))
        return {"loss": loss, "accuracy": accuracy(logits, targets)}


def shuffled_rows(size: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield row indices of one shuffled pass in equal batches, the remainder dropped."""
    order = torch.randperm(size, generator=generator)
    width = min(batch_size, size)
    for start in range(0, size - width + 1, width):
        yield order[start : start + width]


@torch.no_grad()
def predict(task: TensorTask, model: nn.Module, split: Split) -> tuple[Tensor, Tensor]:
    """Return logits and targets of the whole split, with `model` in eval mode meanwhile."""
    inputs, targets = on_device_of(model, task.tensors(split))
    with eval_mode(model):
        logits = torch.cat([model(part) for part in torch.split(inputs, _EVAL_BATCH)])
    return logits, targets
