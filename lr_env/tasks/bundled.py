"""Data sets that come with scikit-learn: no download at all."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from lr_env.tasks.sources import missing_package
from lr_env.tasks.table import (
    content_hash,
    multilayer_perceptron,
    standardise,
    stratified_rows,
    tensor_splits,
)
from lr_env.tasks.tensor_task import TensorTask


class BundledTask(TensorTask):
    """A classification data set of scikit-learn, a stratified 60/20/20 split for each seed.

    Inputs are standardised by the training rows; the network is an MLP with ReLU.
    """

    overlapping_splits = True
    loader: ClassVar[str] = ""
    hidden: ClassVar[tuple[int, ...]] = (64, 32)

    def __init__(self, seed: int = 42) -> None:
        try:
            import sklearn.datasets
        except ImportError as error:
            raise missing_package("scikit-learn") from error
        inputs, labels = getattr(sklearn.datasets, self.loader)(return_X_y=True)
        rows = stratified_rows(labels, seed)
        self._hash = content_hash(inputs, labels)
        self._classes = int(labels.max()) + 1
        super().__init__(tensor_splits(standardise(inputs, rows["train"]), labels, rows), seed)

    def build_model(self) -> nn.Module:
        """Return the MLP, freshly initialised."""
        features = self.tensors("train")[0].shape[1]
        return multilayer_perceptron(features, self.hidden, self._classes)

    def describe(self) -> dict[str, Any]:
        """Return sizes, source and the data's hash."""
        return {**super().describe(), "source": f"scikit-learn {self.loader}", "hash": self._hash}


class Digits(BundledTask):
    """1,797 images of handwritten digits, 8 by 8 pixels (Alpaydin and Kaynak 1998)."""

    name = "digits"
    loader = "load_digits"
    target_accuracy = 0.95


class BreastCancer(BundledTask):
    """569 tumours by 30 features of their cell nuclei (Wolberg et al. 1995)."""

    name = "breast_cancer"
    loader = "load_breast_cancer"
    target_accuracy = 0.95
    hidden = (32, 16)


class Wine(BundledTask):
    """178 wines of three growers by 13 chemical measurements (Aeberhard and Forina 1992)."""

    name = "wine"
    loader = "load_wine"
    target_accuracy = 0.95
    hidden = (32, 16)
