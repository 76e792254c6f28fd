"""One training of the meta-test: a spec and a seed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lr_env.meta_test.data import generate
from lr_env.meta_test.models import build_network
from lr_env.meta_test.pretraining import POOL, grouped, pretrained
from lr_env.meta_test.spec import MetaTestSpec
from lr_env.randomness import torch_generator
from lr_env.tasks.base import Split
from lr_env.tasks.family.data import add_label_noise
from lr_env.tasks.tensor_task import TensorTask


class MetaTestTask(TensorTask):
    """Data and initial weights drawn by `seed`; all shapes fixed by `spec`.

    There is no test data to keep apart: nothing is chosen on these trainings but checkpoints,
    on entries of their own. The test split is the validation split.
    """

    name = "meta_test"
    epochs = 10

    def __init__(self, spec: MetaTestSpec, seed: int = 42) -> None:
        self.spec = spec
        self.batch_size = spec.batch_size
        self._body = spec.pool + seed % POOL
        super().__init__(_splits(spec, self._body, seed), seed)

    def build_model(self) -> nn.Module:
        """Return the network; a fine-tuned one has its pretrained body in place."""
        network = build_network(self.spec)
        if self.spec.pretrained:
            _, weights = pretrained(self.spec, self._body)
            network[0].load_state_dict(weights)
        return network

    def is_pretrained(self, parameter_name: str) -> bool:
        """Return whether that parameter belongs to a pretrained body."""
        return self.spec.pretrained and parameter_name.startswith("0.")

    def describe(self) -> dict[str, Any]:
        """Return sizes and the spec."""
        return {**super().describe(), "spec": self.spec.to_dict()}


def _splits(spec: MetaTestSpec, body: int, seed: int) -> dict[Split, tuple[Tensor, Tensor]]:
    generator = torch_generator(seed, "meta-test data")
    count = spec.train_size + spec.validation_size
    if spec.pretrained:
        inputs, labels = grouped(spec, body, count, generator)
    else:
        inputs, labels = generate(spec, count, generator)
    if spec.label_noise:
        labels = add_label_noise(labels, spec.classes, spec.label_noise, generator)
    train, validation = (
        (inputs[rows], labels[rows])
        for rows in (slice(None, spec.train_size), slice(spec.train_size, None))
    )
    return {"train": train, "validation": validation, "test": validation}
