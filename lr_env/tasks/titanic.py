"""Titanic: who of the 891 passengers in Kaggle's training file survived."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lr_env.tasks.base import SPLITS, Split
from lr_env.tasks.evaluation import accuracy, binary_scores
from lr_env.tasks.scales import DEFAULT_SCALE, Scale, recipe_at
from lr_env.tasks.sources import data_error, load_table
from lr_env.tasks.stored import source_label
from lr_env.tasks.table import (
    content_hash,
    multilayer_perceptron,
    standardise,
    stratified_rows,
    tensor_splits,
)
from lr_env.tasks.tensor_task import TensorTask, predict

if TYPE_CHECKING:
    from pandas import DataFrame

HUB = "phihung/titanic"
COLUMNS = (
    "Survived", "Pclass", "Name", "Sex", "Age", "SibSp", "Parch", "Fare", "Cabin", "Embarked",
)  # fmt: skip
NUMBERS = ("Age", "Fare", "SibSp", "Parch", "FamilySize")
CATEGORIES = ("Pclass", "Sex", "Embarked", "Title", "Deck")
COMMON_TITLES = ("Mr", "Mrs", "Miss", "Master")


class Titanic(TensorTask):
    """Survival by class, sex, age, family, fare, port, title and deck.

    Repeated stratified 60/20/20 splits: one split's 179 test passengers give a standard error
    of 2.9 points. Medians, most frequent values, categories and scales come from the training
    rows alone. MLP with ReLU and Dropout.

    Args:
        seed: of the split.
        data: folder, file or hub name; see `lr_env.tasks.sources`.
        scale: "quick" and "paper" are the same, all passengers and 50 epochs; "smoke" has 3.

    Raises:
        UnknownNameError: no such scale.
        DataError: the data cannot be found or read, or a column is absent, empty or strange.
    """

    name = "titanic"
    overlapping_splits = True
    target_accuracy = 0.80
    epochs_at: ClassVar[Mapping[Scale, int]] = {"smoke": 3, "quick": 50, "paper": 50}

    def __init__(
        self, seed: int = 42, data: str | Path | None = None, scale: str = DEFAULT_SCALE
    ) -> None:
        self.scale, self.epochs = recipe_at(scale, self.epochs_at)
        table = load_table(self.name, HUB, COLUMNS, data)
        labels = _labels(table)
        rows = stratified_rows(labels, seed)
        self._stored = len(labels)
        inputs = encode(_derived(_with_numbers(table)), rows["train"])
        self._source = source_label(self.name, HUB, data)
        self._hash = content_hash(table[list(COLUMNS)].astype(str).to_numpy(dtype="U"))
        super().__init__(tensor_splits(inputs, labels, rows), seed)

    def build_model(self) -> nn.Module:
        """Return the MLP, freshly initialised."""
        return multilayer_perceptron(self.tensors("train")[0].shape[1], (64, 32), 2, dropout=0.2)

    @torch.no_grad()
    def metrics(self, model: nn.Module, split: Split) -> dict[str, float]:
        """Return loss and accuracy, and precision and recall of survivors, on `split`.

        Precision is 0 where nobody is predicted to survive.
        """
        logits, targets = predict(self, model, split)
        scores = binary_scores(logits, targets)
        return {
            "loss": float(self.loss_from_outputs(logits, targets)),
            "accuracy": accuracy(logits, targets),
            "precision": scores["precision"],
            "recall": scores["recall"],
        }

    def describe(self) -> dict[str, Any]:
        """Return sizes, scale, source and the hash of the data."""
        return {
            **super().describe(),
            "scale": self.scale,
            "rows": {split: f"{self.size(split)} of {self._stored} in train" for split in SPLITS},
            "source": self._source,
            "hash": self._hash,
        }


def encode(table: DataFrame, train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return numbers standardised and categories one-hot `[n, features]`.

    Everything is fitted on the rows `train`; a category that they lack is all zeros. Raises
    DataError for a column without any value there.
    """
    fitted = table.iloc[train]
    for name in (*NUMBERS, *CATEGORIES):
        if fitted[name].isna().all():
            raise data_error(Titanic.name, f"its column {name!r} is empty in the training rows")
    numbers = table[list(NUMBERS)].fillna(fitted[list(NUMBERS)].median())
    numbers["Fare"] = np.log1p(numbers["Fare"].clip(lower=0))
    columns = [standardise(numbers.to_numpy(dtype=float), train)]
    for name in CATEGORIES:
        seen = fitted[name].dropna()
        values = table[name].fillna(seen.mode().iloc[0])
        known = sorted(seen.unique())
        columns.append(np.stack([(values == own).to_numpy(dtype=float) for own in known], axis=1))
    return np.concatenate(columns, axis=1)


def _derived(table: DataFrame) -> DataFrame:
    """Return `table` with title, deck and family size."""
    titles = table["Name"].astype(str).str.extract(r",\s*([^.]+)\.", expand=False).str.strip()
    titles = titles.replace({"Mlle": "Miss", "Ms": "Miss", "Mme": "Mrs"})
    return table.assign(
        Title=titles.where(titles.isin(COMMON_TITLES), "Rare"),
        Deck=table["Cabin"].astype("object").str[0].fillna("Unknown"),
        FamilySize=table["SibSp"] + table["Parch"] + 1,
        Pclass=table["Pclass"].astype(str),
    )


def _with_numbers(table: DataFrame) -> DataFrame:
    """Return `table` with floats where numbers belong; raises DataError for anything else."""
    import pandas

    table = table.copy()
    for name in set(NUMBERS).intersection(COLUMNS):
        numbers = pandas.to_numeric(table[name], errors="coerce").astype(float)
        strange = table[name].notna() & ~np.isfinite(numbers)
        if strange.any():
            value = table.loc[strange, name].iloc[0]
            raise data_error(Titanic.name, f"its column {name!r} holds {str(value)!r} as a number")
        table[name] = numbers
    return table


def _labels(table: DataFrame) -> NDArray[np.int64]:
    column = table["Survived"]
    if column.isna().any() or not column.isin([0, 1]).all() or column.nunique() < 2:
        raise data_error(
            Titanic.name,
            "its column 'Survived' must be 0 or 1 in every row, and not always the same, as in "
            "Kaggle's training file (its test file has no labels)",
        )
    return column.to_numpy(dtype=np.int64)
