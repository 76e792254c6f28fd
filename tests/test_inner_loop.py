"""The inner loop: batches of any shape."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from lr_env.devices import placed
from lr_env.env import LayerwiseLREnv
from lr_env.errors import DataError
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
