"""Classification of rows that are stored somewhere, at one of three scales."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lr_env.tasks.base import Split, Task
from lr_env.tasks.cache import Entry
from lr_env.tasks.evaluation import accuracy, commonest_share, eval_mode, on_device_of
from lr_env.tasks.scales import Recipe, Scale, recipe_at
from lr_env.tasks.stored import read_part, source_label, stored_rows
from lr_env.tasks.subsets import PARTS, Part, draw_rows
from lr_env.tasks.tensor_task import shuffled_rows


class ScaledTask(Task):
    """Cross-entropy on stored rows; a scale's recipe says how many, and how long to train.

    Training and validation rows are drawn from the stored training rows by the seed, test rows
    from the stored test rows, the same for every seed. Subclasses turn a stored column into
    tensors (`read_column`), keep what is theirs of them (`keep`), and make batches of that.

    Attributes:
        hub: the data's name on the hub.
        parts: the stored split that each part is read from.
        column: the stored column of the inputs, beside `label`.
        classes: number of classes.
        recipes: of each scale.
        eval_batch: rows looked at together in `metrics`.
    """

    hub: ClassVar[str] = ""
    parts: ClassVar[Mapping[Part, str]] = {"train": "train", "test": "test"}
    column: ClassVar[str] = ""
    classes: ClassVar[int] = 2
    recipes: ClassVar[Mapping[Scale, Recipe]] = {}
    eval_batch: ClassVar[int] = 250

    def __init__(self, seed: int, data: str | Path | None, scale: str) -> None:
        super().__init__(seed)
        self.scale, recipe = recipe_at(scale, self.recipes)
        self.batch_size, self.epochs = recipe.batch_size, recipe.epochs
        self.target_accuracy = recipe.target_accuracy
        stored = stored_rows(self.name, self.hub, data, self._read)
        labels = {part: stored.tensors[f"{part}_labels"] for part in PARTS}
        rows = draw_rows(self.name, labels, recipe, seed)
        self._labels = {split: labels[part_of(split)][own] for split, own in rows.items()}
        self._about = {
            "scale": self.scale,
            "rows": {
                split: f"{len(own)} of {len(labels[part])} in {self.parts[part]}"
                for split, own in rows.items()
                for part in (part_of(split),)
            },
            "test_spent": recipe.test_spent,
            "source": source_label(self.name, self.hub, data),
            "hash": stored.hash[:16],
        }
        self.keep(stored, rows)

    @classmethod
    @abstractmethod
    def read_column(cls, rows: Any, split: str) -> Mapping[str, Tensor]:
        """Return the inputs in the `datasets.Dataset` `rows` as named tensors.

        Raises DataError for what is no such input.
        """

    @abstractmethod
    def keep(self, stored: Entry, rows: Mapping[Split, Tensor]) -> None:
        """Keep `rows` of the stored inputs: tensors `train_...` and `test_...` by their names."""

    @abstractmethod
    def batch(self, split: Split, rows: Tensor, generator: torch.Generator | None) -> Any:
        """Return rows of `split` as a batch, augmented where `generator` says how."""

    @abstractmethod
    def outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Return logits `[n, classes]` and labels `[n]` of a batch on the model's device."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the mean cross-entropy of `model` on `batch`."""
        return nn.functional.cross_entropy(*self.outputs(model, on_device_of(model, batch)))

    def size(self, split: Split) -> int:
        """Return the number of samples in `split`."""
        return len(self._labels[split])

    def guess_accuracy(self, split: Split) -> float:
        """Return the share of the commonest class in `split`."""
        return commonest_share(self._labels[split])

    def batches(
        self, split: Split, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[Any]:
        """Yield one pass over `split`; see `Task.batches`."""
        if generator is None:
            for rows in torch.split(torch.arange(self.size(split)), batch_size):
                yield self.batch(split, rows, None)
            return
        augmenting = generator if split == "train" else None
        for rows in shuffled_rows(self.size(split), batch_size, generator):
            yield self.batch(split, rows, augmenting)

    @torch.no_grad()
    def metrics(self, model: nn.Module, split: Split) -> dict[str, float]:
        """Return the mean `loss` and the scores of `model` in eval mode on `split`."""
        with eval_mode(model):
            parts = [
                self.outputs(model, on_device_of(model, self.batch(split, rows, None)))
                for rows in torch.split(self.evaluation_order(split), self.eval_batch)
            ]
        logits, labels = (torch.cat(own) for own in zip(*parts, strict=True))
        loss = float(nn.functional.cross_entropy(logits, labels))
        return {"loss": loss, **self.scores(logits, labels)}

    def evaluation_order(self, split: Split) -> Tensor:
        """Return the order in which `metrics` looks at the rows of `split`."""
        return torch.arange(self.size(split))

    def scores(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Return the task's scores of logits `[n, classes]`."""
        return {"accuracy": accuracy(logits, labels)}

    def describe(self) -> dict[str, Any]:
        """Return sizes, scale, rows taken, and the data's source and hash."""
        return {**super().describe(), **self._about}

    @classmethod
    def _read(cls, splits: Any) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for part in PARTS:
            split = cls.parts[part]
            rows, labels = read_part(cls.name, splits, split, cls.column, cls.classes)
            read = {"labels": labels, **cls.read_column(rows, split)}
            tensors |= {f"{part}_{name}": own for name, own in read.items()}
        return tensors


def part_of(split: Split) -> Part:
    """Return the part that the rows of `split` are stored in."""
    return "test" if split == "test" else "train"
