"""One training of the family: a spec and a seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lr_env.randomness import numpy_generator, torch_generator
from lr_env.tasks.base import Split
from lr_env.tasks.family.data import add_label_noise, generate
from lr_env.tasks.family.models import build_network
from lr_env.tasks.family.pretraining import POOL, pretrained
from lr_env.tasks.family.spec import FamilySpec, sample_spec
from lr_env.tasks.tensor_task import TensorTask


class FamilyTask(TensorTask):
    """Data and initial weights drawn by `seed`; all shapes fixed by `spec`."""

    name = "family"
    epochs = 10

    def __init__(self, spec: FamilySpec, seed: int = 42) -> None:
        self.spec = spec
        self.batch_size = spec.batch_size
        self._backbone = seed % POOL
        super().__init__(_splits(spec, seed), seed)

    def guess_accuracy(self, split: Split) -> None:
        """Return nothing: the commonest class of one seed says nothing of another's."""
        return

    def build_model(self) -> nn.Module:
        """Return the network; a fine-tuned one has its pretrained backbone in place."""
        network = build_network(self.spec)
        if self.spec.architecture == "finetune" and isinstance(network, nn.Sequential):
            _, weights = pretrained(self.spec, self._backbone)
            network[0].load_state_dict(weights)
        return network

    def is_pretrained(self, parameter_name: str) -> bool:
        """Return whether that parameter belongs to a pretrained backbone."""
        return self.spec.architecture == "finetune" and parameter_name.startswith("0.")


def make_family_task(seed: int = 42, spec_seed: int | None = None) -> FamilyTask:
    """Build a training of the family; `spec_seed` draws its kind, `seed` if not given."""
    return FamilyTask(sample_spec(seed if spec_seed is None else spec_seed), seed)


def _splits(spec: FamilySpec, seed: int) -> dict[Split, tuple[Tensor, Tensor]]:
    sizes: dict[Split, int] = {
        "train": spec.train_size, "validation": spec.validation_size, "test": spec.test_size,
    }  # fmt: skip
    random = numpy_generator(seed, "family data")
    generator = torch_generator(seed, "family data")
    count = sum(sizes.values())
    if spec.architecture == "finetune":
        inputs, labels = _features(spec, seed % POOL, count, generator)
    else:
        kind = spec.data[int(random.integers(len(spec.data)))]
        inputs, labels = generate(kind, spec, count, generator)
    share = spec.label_noise * random.random()
    if share:
        labels = add_label_noise(labels, spec.classes, share, generator)
    if inputs.is_floating_point() and spec.architecture != "finetune":
        train = inputs[: spec.train_size]
        inputs = (inputs - train.mean(0)) / train.std(0).clamp(min=1e-6)
    parts = zip(*(torch.split(own, list(sizes.values())) for own in (inputs, labels)), strict=True)
    return dict(zip(sizes, parts, strict=True))


def _features(
    spec: FamilySpec, number: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a task that is linear in the features which the backbone learned."""
    teacher, _ = pretrained(spec, number)
    inputs = teacher.inputs(count, generator)
    features = teacher.features(inputs)
    logits = features @ torch.randn(features.shape[1], spec.classes, generator=generator)
    return inputs, (logits - logits.mean(0)).argmax(-1)
