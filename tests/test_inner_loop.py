"""The inner loop: batches of any shape."""

from typing import Any, NamedTuple

import gymnasium
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lr_env.devices import placed
from lr_env.env import LayerwiseLREnv
from lr_env.errors import DataError, ModelError, NonFiniteLossError
from lr_env.inner_loop import BatchStream
from tests.toys import ToyTask

CPU = torch.device("cpu")


class Batch(NamedTuple):
    x: Tensor
    y: Tensor


def test_batches_keep_their_type_in_another_precision() -> None:
    x, y = torch.zeros(2), torch.zeros(2, dtype=torch.long)
    for batch in (Batch(x, y), (x, y), [x, y]):
        own = placed(batch, CPU, torch.float64)
        assert type(own) is type(batch)
        assert [part.dtype for part in own] == [torch.float64, torch.long]
    assert placed({"x": x}, CPU, torch.float64)["x"].dtype == torch.float64


class Untested(ToyTask):
    def size(self, split: str) -> int:
        return 0 if split == "validation" else super().size(split)

    def batches(self, split: str, batch_size: int, generator: Any = None) -> Any:
        return iter(()) if split == "validation" else super().batches(split, batch_size, generator)


def test_a_task_without_validation_data_is_one_sentence() -> None:
    with pytest.raises(DataError, match="no validation batches"):
        LayerwiseLREnv(Untested)


class Listed(ToyTask):
    """Its batches are no iterator, but can be gone through again and again."""

    def batches(self, split: str, batch_size: int, generator: Any = None) -> Any:
        return list(super().batches(split, batch_size, generator))


class Loaded(ToyTask):
    def batches(self, split: str, batch_size: int, generator: Any = None) -> Any:
        shuffled = split == "train"
        data = TensorDataset(*self.tensors(split))
        return DataLoader(data, batch_size, shuffle=shuffled, generator=generator)


@pytest.mark.parametrize("kind", [ToyTask, Listed, Loaded])
def test_a_pass_has_every_sample_whatever_batches_returns(kind: type[ToyTask]) -> None:
    task = kind(0)
    stream = BatchStream(task, 16, torch.Generator().manual_seed(0))
    for _ in range(2):
        seen = torch.cat([stream.next()[0] for _ in range(4)])
        assert len(seen.unique(dim=0)) == len(task.tensors("train")[0])


class Noisy(ToyTask):
    """Draws noise in its loss, when it is evaluated too."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return super().loss(model, (batch[0] + 0.1 * torch.randn(batch[0].shape), batch[1]))


def test_noise_in_a_validation_loss_is_of_the_seed() -> None:
    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        env = LayerwiseLREnv(Noisy, num_decisions=2)
        state = torch.get_rng_state()
        _, info = env.reset(seed=0)
        losses.append(info["validation_loss"])
        assert torch.equal(torch.get_rng_state(), state)
    assert losses[0] == losses[1]


def test_what_failed_to_begin_is_not_stepped() -> None:
    class Broken(ToyTask):
        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            return super().loss(model, batch) * (torch.nan if self.seed else 1.0)

    env = LayerwiseLREnv(lambda seed: Broken(0 if seed < 1 else 1), num_decisions=4)
    with pytest.raises(NonFiniteLossError):
        env.reset(seed=3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(env.action_space.sample())


def test_a_model_that_was_trained_before_is_refused() -> None:
    class Kept(ToyTask):
        model: nn.Module | None = None

        def build_model(self) -> nn.Module:
            self.model = self.model or super().build_model()
            return self.model

    env = LayerwiseLREnv(Kept())
    with pytest.raises(ModelError, match="make a new one every time"):
        env.reset(seed=0)
