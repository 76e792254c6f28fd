"""What a kind of training of the meta-test is: data, network and sizes; a seed draws the rest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Network = Literal["mlp", "normalised_mlp", "pooled_cnn", "averaged_cnn", "transformer"]


@dataclass(frozen=True)
class MetaTestSpec:
    """All that fixes shapes, so that trainings of one spec can be stacked.

    Attributes:
        data: name of the data (see `lr_env.meta_test.data`).
        network: kind of network (see `lr_env.meta_test.models`).
        depth: hidden layers or blocks.
        width: hidden units, model width, or channels of the first convolution.
        size: features of a vector, channels of an image, tokens of a sequence.
        classes: number of classes.
        train_size, validation_size: samples in these splits.
        batch_size: mini-batch size.
        label_noise: share of labels drawn at random, in every split.
        pretrained: whether all but the head starts from pretrained weights.
        pool: number of the first backbone that such a training may start from; pools of
            different specs are disjoint.
    """

    data: str
    network: Network
    depth: int
    width: int
    size: int
    classes: int
    train_size: int
    validation_size: int
    batch_size: int = 32
    label_noise: float = 0.0
    pretrained: bool = False
    pool: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)
