"""check_task finds what is broken, and passes what is sound."""

import itertools
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lr_env.errors import LrEnvError, TaskError, UnknownNameError
from lr_env.tasks import Task, TensorTask
from lr_env.tasks.family import FamilyTask, held_out_specs
from lr_env.testing import check_task
from tests.toys import ToyTask

COUNTER = itertools.count()


class UnseededTask(ToyTask):
    def __init__(self, seed: int = 0) -> None:
        super().__init__(next(COUNTER))


class SharedModelTask(ToyTask):
    """Goes on with the model that it has, and whatever that has learned."""

    model: nn.Module | None = None

    def build_model(self) -> nn.Module:
        self.model = self.model or super().build_model()
        return self.model


class EmptyTestTask(ToyTask):
    def size(self, split: str) -> int:
        return 0 if split == "test" else super().size(split)


class GlobalOrderTask(ToyTask):
    def batches(self, split: str, batch_size: int, generator: Any = None) -> Iterator[Any]:
        if generator is not None:
            generator = torch.Generator().manual_seed(int(torch.randint(1000, ())))
        return super().batches(split, batch_size, generator)


class NumpyOrderTask(ToyTask):
    def batches(self, split: str, batch_size: int, generator: Any = None) -> Iterator[Any]:
        np.random.shuffle([1, 2])  # noqa: NPY002
        return super().batches(split, batch_size, generator)


class PythonOrderTask(ToyTask):
    def batches(self, split: str, batch_size: int, generator: Any = None) -> Iterator[Any]:
        random.shuffle([1, 2])
        return super().batches(split, batch_size, generator)


class UnshuffledTask(ToyTask):
    def batches(self, split: str, batch_size: int, generator: Any = None) -> Iterator[Any]:
        return super().batches(split, batch_size, None)


class RaggedTask(ToyTask):
    def batches(self, split: str, batch_size: int, generator: Any = None) -> Iterator[Any]:
        inputs, targets = self.tensors(split)
        order = torch.arange(len(targets))
        if generator is not None:
            order = torch.randperm(len(targets), generator=generator)
        for rows in order.split(batch_size):
            yield inputs[rows], targets[rows]


class ForgetfulTask(ToyTask):
    def batches(self, split: str, batch_size: int, generator: Any = None) -> Iterator[Any]:
        whole = super().batches(split, batch_size, generator)
        return (batch for batch in whole if generator is not None or len(batch[0]) == batch_size)


class LeakingTask(ToyTask):
    """A quarter of the test samples are training samples."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        (inputs, targets), (own, labels) = self.tensors("train"), self.tensors("test")
        own[:8], labels[:8] = inputs[:8], targets[:8]


class RepetitiveTask(ToyTask):
    """Three kinds of samples, so that most test samples stand in the training split by chance."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        for split in ("train", "validation", "test"):
            inputs, targets = self.tensors(split)
            inputs[:] = targets[:, None].float()


class UnseededModelTask(ToyTask):
    def build_model(self) -> nn.Module:
        model = super().build_model()
        nn.init.normal_(model[0].weight, generator=torch.Generator().manual_seed(next(COUNTER)))
        return model


class SampleLossTask(ToyTask):
    def loss_from_outputs(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="none")


class InfiniteLossTask(ToyTask):
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return super().loss(model, batch) * torch.inf


class DetachedLossTask(ToyTask):
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return super().loss(model, batch).detach()


class FrozenTask(ToyTask):
    def build_model(self) -> nn.Module:
        return super().build_model().requires_grad_(False)


class IdleLayerTask(ToyTask):
    def build_model(self) -> nn.Module:
        model = super().build_model()
        model.register_module("idle", nn.Linear(2, 2))
        model.forward = lambda x: model[2](model[1](model[0](x)))
        return model


class StuckLossTask(ToyTask):
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        loss = super().loss(model, batch)
        return loss / loss.detach()


class RisingTask(ToyTask):
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return -super().loss(model, batch)

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        model.train()
        return {"accuracy": 2.0}


class TrainingMetricsTask(ToyTask):
    """Evaluates in train mode: BatchNorm's buffers move, and dropout is drawn."""

    def build_model(self) -> nn.Module:
        return nn.Sequential(super().build_model(), nn.BatchNorm1d(3), nn.Dropout(0.1))

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        return {"loss": self.loss(model.train(), self.tensors(split)).item()}


class OpenTask(ToyTask):
    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.handle = lambda: None

    def describe(self) -> dict[str, Any]:
        return {"model": self.build_model()}


class LossyTask(ToyTask):
    """Pickled, it comes back as another instance."""

    def __reduce__(self) -> Any:
        return ToyTask, (self.seed + 1,)


class BrokenTask(ToyTask):
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        raise KeyError("two\nlines")


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (UnseededTask, "differs between instances of one seed"),
        (EmptyTestTask, "the test split is empty"),
        (GlobalOrderTask, "draws from a global generator"),
        (GlobalOrderTask, "differs between equal generators"),
        (NumpyOrderTask, "draws from a global generator"),
        (PythonOrderTask, "draws from a global generator"),
        (UnshuffledTask, "ignores its generator"),
        (RaggedTask, "leave out a last batch that is shorter"),
        (ForgetfulTask, "is no pass over test"),
        (LeakingTask, "25% of the test samples stand in the training split"),
        (UnseededModelTask, "build_model() differs under equal seeds"),
        (SharedModelTask, "weights that an earlier model has"),
        (SampleLossTask, "is not one finite number"),
        (InfiniteLossTask, "is not one finite number"),
        (DetachedLossTask, "is cut off from the model"),
        (FrozenTask, "no trainable parameter"),
        (IdleLayerTask, "does not depend on idle.weight, idle.bias"),
        (StuckLossTask, "do not lower its loss"),
        (RisingTask, "has no finite 'loss'"),
        (RisingTask, "is not between 0 and 1"),
        (RisingTask, "train/eval mode"),
        (TrainingMetricsTask, "changes weights or buffers"),
        (TrainingMetricsTask, "metrics() draws from a global generator"),
        (OpenTask, "cannot be pickled"),
        (OpenTask, "describe() is not made of plain values"),
        (LossyTask, "a pickled task holds other data"),
        (BrokenTask, "loss_can_be_trained cannot be checked (KeyError: 'two\\nlines')"),
    ],
)
def test_what_is_broken_is_named(task: type[Task], problem: str) -> None:
    with pytest.raises(TaskError, match="not sound") as caught:
        check_task(task)
    assert isinstance(caught.value, LrEnvError)
    lines = [own for own in str(caught.value).splitlines() if problem in own]
    assert lines
    assert all(": " in own for own in lines), "every problem comes with its remedy"


def test_every_problem_is_said_once() -> None:
    with pytest.raises(TaskError) as caught:
        check_task(RisingTask, seeds=(0, 1, 2))
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == len(set(lines)) == 3


def test_a_task_that_cannot_be_built_is_named() -> None:
    with pytest.raises(TaskError, match=r"cannot be built from a seed .*abstract"):
        check_task(TensorTask)
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        check_task("digit")


def test_an_instance_is_looked_at_as_it_is() -> None:
    check_task(ToyTask(7, "dropout"))
    with pytest.raises(TaskError, match="25% of the test samples"):
        check_task(LeakingTask(7))


def test_duplicates_that_the_data_has_anyway_are_no_leak() -> None:
    check_task(RepetitiveTask)


def test_the_global_generators_stay_as_they_were() -> None:
    def states() -> list[Any]:
        return [torch.get_rng_state().tolist(), np.random.rand(), random.getstate()]  # noqa: NPY002

    torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
    before = states()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
    check_task(partial(ToyTask, architecture="dropout"), seeds=(0,))
    assert states() == before


class MappingTask(Task):
    """Batches are mappings, the loss is a regression's: nothing of TensorTask."""

    name = "mapping"
    batch_size = 4

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        generator = torch.Generator().manual_seed(seed)
        self.data = {
            split: torch.randn(count, 3, generator=generator, dtype=torch.bfloat16)
            for split, count in (("train", 20), ("validation", 9), ("test", 9))
        }

    def build_model(self) -> nn.Module:
        return nn.Linear(2, 1)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return (model(batch["x"].float()).squeeze(1) - batch["y"].float()).square().mean()

    def size(self, split: str) -> int:
        return len(self.data[split])

    def batches(self, split: str, batch_size: int, generator: Any = None) -> Iterator[Any]:
        size = self.size(split)
        order, stop = torch.arange(size), size
        if generator is not None:
            batch_size = min(batch_size, size)
            order, stop = torch.randperm(size, generator=generator), size - size % batch_size
        for start in range(0, stop, batch_size):
            rows = self.data[split][order[start : start + batch_size]]
            yield {"x": rows[:, :2], "y": rows[:, 2], "note": ["text"] * len(rows)}

    @torch.no_grad()
    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        training = model.training
        loss = float(self.loss(model.eval(), next(self.batches(split, 100))))
        model.train(training)
        return {"loss": loss}


def test_a_task_with_batches_of_its_own_is_checked_alike() -> None:
    check_task(MappingTask)

    class Leaking(MappingTask):
        def __init__(self, seed: int = 0) -> None:
            super().__init__(seed)
            self.data["test"] = self.data["train"][:9]

    with pytest.raises(TaskError, match="100% of the test samples"):
        check_task(Leaking)


@pytest.mark.parametrize("name", ["digits", "wine", "breast_cancer", "family"])
def test_shipped_tasks_are_sound(name: str) -> None:
    check_task(name)


@pytest.mark.parametrize("spec", held_out_specs(), ids=lambda spec: spec.architecture)
def test_every_architecture_of_the_family_is_sound(spec: Any) -> None:
    check_task(partial(FamilyTask, spec))


@pytest.mark.parametrize("architecture", ["mlp", "layernorm", "batchnorm", "dropout"])
def test_toys_are_sound(architecture: str) -> None:
    check_task(partial(ToyTask, architecture=architecture))
