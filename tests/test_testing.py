"""check_task finds what is broken, and passes what is sound."""

import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lr_env.errors import TaskError
from lr_env.tasks.family import FamilyTask, held_out_specs
from lr_env.testing import check_task
from tests.toys import ToyTask


class UnseededTask(ToyTask):
    def __init__(self, seed: int = 0) -> None:
        super().__init__(random.SystemRandom().randrange(2**31))


class GlobalOrderTask(ToyTask):
    def batches(self, split: str, batch_size: int, generator: Any = None) -> Iterator[Any]:
        if generator is not None:
            generator = torch.Generator().manual_seed(int(torch.randint(1000, ())))
        return super().batches(split, batch_size, generator)


class UnshuffledTask(ToyTask):
    def batches(self, split: str, batch_size: int, generator: Any = None) -> Iterator[Any]:
        return super().batches(split, batch_size, None)


class LeakingTask(ToyTask):
    def tensors(self, split: str) -> tuple[Tensor, Tensor]:
        return super().tensors("train" if split == "test" else split)


class SampleLossTask(ToyTask):
    def loss_from_outputs(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="none")


class IdleLayerTask(ToyTask):
    def build_model(self) -> nn.Module:
        model = super().build_model()
        model.register_module("idle", nn.Linear(2, 2))
        model.forward = lambda x: model[2](model[1](model[0](x)))
        return model


class RisingTask(ToyTask):
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return -super().loss(model, batch)

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        model.train()
        return {"accuracy": 2.0}


class StuckLossTask(ToyTask):
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        loss = super().loss(model, batch)
        return loss / loss.detach()


class OpenTask(ToyTask):
    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.handle = lambda: None

    def describe(self) -> dict[str, Any]:
        return {"model": self.build_model()}


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (UnseededTask, "differs between instances of one seed"),
        (GlobalOrderTask, "draws from a global generator"),
        (UnshuffledTask, "ignores its generator"),
        (LeakingTask, "stand in the training split"),
        (SampleLossTask, "must return one finite number"),
        (IdleLayerTask, "does not depend on idle"),
        (StuckLossTask, "do not lower its loss"),
        (RisingTask, "must return a finite 'loss'"),
        (RisingTask, "must be between 0 and 1"),
        (RisingTask, "train/eval mode"),
        (OpenTask, "cannot be pickled"),
        (OpenTask, "describe() must return plain values"),
    ],
)
def test_what_is_broken_is_named(task: type, problem: str) -> None:
    with pytest.raises(TaskError, match="not sound") as caught:
        check_task(task)
    assert problem in str(caught.value)


@pytest.mark.parametrize("name", ["digits", "wine", "breast_cancer", "family"])
def test_shipped_tasks_are_sound(name: str) -> None:
    check_task(name)


@pytest.mark.parametrize("spec", held_out_specs(), ids=lambda spec: spec.architecture)
def test_every_architecture_of_the_family_is_sound(spec: Any) -> None:
    check_task(partial(FamilyTask, spec))


@pytest.mark.parametrize("architecture", ["mlp", "layernorm", "batchnorm", "dropout"])
def test_toys_are_sound(architecture: str) -> None:
    check_task(partial(ToyTask, architecture=architecture))
