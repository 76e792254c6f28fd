"""CIFAR-10 (Krizhevsky 2009) with torchvision's ResNet-18 (He et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from lr_env.errors import UnknownNameError
from lr_env.tasks.base import Split
from lr_env.tasks.cache import Entry
from lr_env.tasks.images import channel_scales, crop_and_flip, decode_images
from lr_env.tasks.scaled import ScaledTask, part_of
from lr_env.tasks.scales import DEFAULT_SCALE, Recipe, Scale
from lr_env.tasks.torchvision_import import import_torchvision

Stem = Literal["imagenet", "cifar"]
STEMS: tuple[Stem, ...] = get_args(Stem)
SIDE = 32


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """A recipe and the network's stem."""

    stem: Stem


class Cifar10(ScaledTask):
    """Ten kinds of things in images of 32 by 32 pixels.

    Training images are cropped and flipped at random; all are normalised by mean and deviation
    of the training rows' pixels.

    Args:
        seed: of the training and validation rows.
        data: folder or hub name; see `lr_env.tasks.sources`.
        scale: "smoke", "quick" or "paper".
        stem: "imagenet", torchvision's own (7x7 with stride 2, then pooling), or "cifar" (3x3,
            no pooling; about six times the time); the scale's if None.

    Raises:
        DataError: the data cannot be found or read, or are not such images.
        UnknownNameError: no such scale or stem.
    """

    name = "cifar10"
    hub = "uoft-cs/cifar10"
    column = "img"
    classes = 10
    recipes: ClassVar[Mapping[Scale, ImageRecipe]] = {
        # training, validation and test rows, epochs, batch size, target accuracy, stem
        "smoke": ImageRecipe(64, 32, 32, 2, 8, 0.20, "imagenet"),
        "quick": ImageRecipe(5_000, 1_000, 8_000, 10, 32, 0.50, "imagenet", test_spent=2_000),
        "paper": ImageRecipe(None, 5_000, None, 50, 32, 0.85, "cifar"),
    }

    def __init__(
        self,
        seed: int = 42,
        data: str | Path | None = None,
        scale: str = DEFAULT_SCALE,
        stem: str | None = None,
    ) -> None:
        if stem not in (None, *STEMS):
            raise UnknownNameError("stem", str(stem), STEMS)
        super().__init__(seed, data, scale)
        self.stem = stem or self.recipes[self.scale].stem

    @classmethod
    def read_column(cls, rows: Any, split: str) -> dict[str, Tensor]:
        """Return `images` uint8 `[n, 3, 32, 32]`."""
        return {"images": decode_images(cls.name, rows, split, cls.column, SIDE)}

    def keep(self, stored: Entry, rows: Mapping[Split, Tensor]) -> None:
        """Keep the rows' images as bytes, and the scales of the training rows."""
        self._images = {
            split: stored.tensors[f"{part_of(split)}_images"][own] for split, own in rows.items()
        }
        self._mean, self._deviation = channel_scales(self._images["train"])

    def batch(
        self, split: Split, rows: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return `(images float32 [n, 3, 32, 32], labels [n])`."""
        images = self._images[split][rows]
        if generator is not None:
            images = crop_and_flip(images, generator)
        return (images - self._mean) / self._deviation, self._labels[split][rows]

    def outputs(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits and labels."""
        images, labels = batch
        return model(images), labels

    def build_model(self) -> nn.Module:
        """Return ResNet-18 with ten outputs, freshly initialised."""
        model: nn.Module = import_torchvision().models.resnet18(num_classes=self.classes)
        if self.stem == "cifar":
            convolution = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            model.conv1, model.maxpool = convolution, nn.Identity()
        return model

    def describe(self) -> dict[str, Any]:
        """Return sizes, scale, rows, source, hash and model."""
        return {**super().describe(), "model": f"torchvision ResNet-18, {self.stem} stem"}
