"""The inner loop: batches of any shape."""

from typing import NamedTuple

import torch
from torch import Tensor

from lr_env.inner_loop import _placed

CPU = torch.device("cpu")


class Batch(NamedTuple):
    x: Tensor
    y: Tensor


def test_batches_keep_their_type_in_another_precision() -> None:
    x, y = torch.zeros(2), torch.zeros(2, dtype=torch.long)
    for batch in (Batch(x, y), (x, y), [x, y]):
        own = _placed(batch, torch.float64, CPU)
        assert type(own) is type(batch)
        assert [part.dtype for part in own] == [torch.float64, torch.long]
    assert _placed({"x": x}, torch.float64, CPU)["x"].dtype == torch.float64
