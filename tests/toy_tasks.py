"""Small tasks that tests train on."""

import torch
from torch import nn

from lr_env.randomness import torch_generator
from lr_env.tasks import TensorTask

FEATURES, CLASSES = 12, 3


def _splits(seed: int) -> dict:
    generator = torch_generator(seed, "toy")
    teacher = torch.randn(FEATURES, CLASSES, generator=generator)
    splits = {}
    for split, size in (("train", 130), ("validation", 96), ("test", 96)):
        inputs = torch.randn(size, FEATURES, generator=generator)
        splits[split] = (inputs, (inputs @ teacher).argmax(-1))
    return splits


class LayerNormTask(TensorTask):
    """A linear teacher, a student with LayerNorm."""

    name = "toy-layernorm"

    def __init__(self, seed: int = 42) -> None:
        super().__init__(_splits(seed), seed)

    def build_model(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(FEATURES, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, CLASSES)
        )


class BatchNormTask(LayerNormTask):
    """The same with BatchNorm, whose running statistics are buffers.

    No bias before it: its gradient is rounding noise, which Adam blows up to whole steps.
    """

    name = "toy-batchnorm"

    def build_model(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(FEATURES, 16, bias=False),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Linear(16, CLASSES),
        )
