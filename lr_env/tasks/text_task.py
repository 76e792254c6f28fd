"""Sentiment of texts: a pretrained encoder, fine-tuned with a fresh head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lr_env.errors import InvalidArgumentError
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.tasks.base import Split
from lr_env.tasks.cache import Entry
from lr_env.tasks.checkpoints import find_checkpoint
from lr_env.tasks.encoders import build_classifier
from lr_env.tasks.evaluation import accuracy, binary_scores
from lr_env.tasks.ragged import Ragged
from lr_env.tasks.scaled import ScaledTask, part_of
from lr_env.tasks.scales import DEFAULT_SCALE, Recipe, Scale, recipe_at
from lr_env.tasks.tokens import read_texts, token_ids

WIDTH_MULTIPLE = 8
Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class TextRecipe(Recipe):
    """A recipe and the length that texts are cut off at."""

    max_tokens: int


class TextTask(ScaledTask):
    """Two classes of texts.

    Batches are dicts of `input_ids`, `attention_mask` (both `[n, width]`) and `labels` `[n]`.
    Their width is that of the batch's longest text, rounded up to a multiple of 8: most texts
    are far shorter than the longest, and a processor pays for padding as for text.

    Args:
        seed: of the training and validation rows.
        data: folder or hub name; see `lr_env.tasks.sources`.
        scale: "smoke", "quick" or "paper".
        model: local folder or hub name of the encoder; see `lr_env.tasks.checkpoints`.
        head_dropout: probability of the dropout before the classifier; the model's own if None.

    Raises:
        DataError: the data cannot be found or read, or are not labelled texts.
        ModelError: there is no such model, or it is no checkpoint of an encoder.
        UnknownNameError: no such scale.
        InvalidArgumentError: `head_dropout` is no probability below 1.
    """

    recipes: ClassVar[Mapping[Scale, TextRecipe]]
    eval_batch: ClassVar[int] = 32

    def __init__(
        self,
        seed: int = 42,
        data: str | Path | None = None,
        scale: str = DEFAULT_SCALE,
        model: str | Path | None = None,
        head_dropout: float | None = None,
    ) -> None:
        if head_dropout is not None and not 0.0 <= head_dropout < 1.0:
            raise InvalidArgumentError(f"head_dropout is a share below 1, not {head_dropout}.")
        known_scale, recipe = recipe_at(scale, self.recipes)
        self.max_tokens = recipe.max_tokens
        self._checkpoint = find_checkpoint(model, known_scale)
        self._head_dropout = head_dropout
        self._fresh: frozenset[str] | None = None
        super().__init__(seed, data, scale)

    @classmethod
    def read_column(cls, rows: Any, split: str) -> dict[str, Tensor]:
        """Return `texts`, ragged UTF-8 bytes."""
        return read_texts(cls.name, rows, split, cls.column).tensors("texts")

    def keep(self, stored: Entry, rows: Mapping[Split, Tensor]) -> None:
        """Keep the rows' token ids."""
        tokens = token_ids(stored, self._checkpoint, self.max_tokens)
        self._fill = int(tokens["fill"])
        self._texts = {
            split: Ragged.named(tokens, part_of(split)).select(own) for split, own in rows.items()
        }

    def batch(
        self, split: Split, rows: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return rows of `split`; nothing is drawn."""
        ids, mask = self._texts[split].padded(rows, self._fill, WIDTH_MULTIPLE)
        return {"input_ids": ids, "attention_mask": mask, "labels": self._labels[split][rows]}

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits and labels."""
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return logits, batch["labels"]

    def evaluation_order(self, split: Split) -> Tensor:
        """Return rows by length, so that little is padded."""
        return self._texts[split].lengths().argsort(stable=True)

    def scores(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Return accuracy, and precision, recall and F1 of the class 1, positive."""
        return {"accuracy": accuracy(logits, labels), **binary_scores(logits, labels)}

    def build_model(self) -> nn.Module:
        """Return the pretrained encoder with a freshly initialised head."""
        model, self._fresh = build_classifier(self._checkpoint, self.classes, self._head_dropout)
        return model

    def is_pretrained(self, parameter_name: str) -> bool:
        """Return whether that parameter came from the checkpoint."""
        if self._fresh is None:
            with IsolatedTorchRandomness(0, "names of parameters").use():
                self.build_model()
        return self._fresh is not None and parameter_name not in self._fresh

    def describe(self) -> dict[str, Any]:
        """Return sizes, scale, rows, source, hash, model and its hashes, and tokens."""
        return {
            **super().describe(),
            "model": self._checkpoint.label,
            "model_hash": self._checkpoint.weights_hash(),
            "vocabulary_hash": self._checkpoint.vocabulary_hash(),
            "head_dropout": self._head_dropout,
            "max_tokens": self.max_tokens,
        }
