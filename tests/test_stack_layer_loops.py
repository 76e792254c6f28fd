"""Loops in C++ do what the traced function does, or are not made."""

import ctypes
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lr_env.stack.layer_loops import ENTRIES, UntranslatedError, layer_loop
from lr_env.stack.native import library

SIZE = 101


def _called(code: str, given: list[Tensor], results: int) -> Tensor:
    """Call `tried` of the C++; it changes `given`."""
    pointers = (ctypes.c_void_p * len(given))(*(own.data_ptr() for own in given))
    result = given[0].new_empty(results)
    library(code).tried(
        ctypes.c_int64(SIZE), ctypes.byref(pointers), ctypes.c_void_p(result.data_ptr())
    )
    return result


def _every_operation(values: Tensor, other: Tensor, kept: Tensor, factors: Tensor) -> Tensor:
    """Change `values` and `kept`; return three numbers."""
    before = values.clone()
    values.lerp_(other, 0.7).mul_(1.0 - kept * 0.1).sub_(other.abs(), alpha=0.5)
    values.addcmul_(other, other, value=-0.25).add_(factors[:, 1:])
    grown = torch.where(values > before, values.maximum(other), values / factors[:, :1])
    moved = (grown != before).to(values.dtype).sum(1).clamp(min=3)
    rms = ((grown * grown).sum(1) / moved).sqrt()
    kept.copy_(torch.where(rms > 0.0, rms, torch.zeros_like(rms)).unsqueeze(1))
    values.copy_(grown)
    return torch.stack([moved.unsqueeze(1), rms.unsqueeze(1), kept], -1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loop_does_what_its_function_does(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)

    def given(size: int) -> list[Tensor]:
        shapes = (1, size), (1, size), (1, 1), (1, 2)
        return [torch.randn(own, generator=generator, dtype=dtype) for own in shapes]

    code = layer_loop("tried", _every_operation, given(ENTRIES))
    wanted = given(SIZE)
    found = [own.clone() for own in wanted]
    told = _every_operation(*wanted).flatten()
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-13, "atol": 0}
    torch.testing.assert_close(_called(code, found, 3), told, **close)
    torch.testing.assert_close(found, wanted, **close)


def test_what_is_not_a_number_stays_so() -> None:
    def largest(values: Tensor, other: Tensor) -> None:
        values.copy_(values.maximum(other))

    code = layer_loop("tried", largest, [torch.zeros(1, ENTRIES)] * 2)
    values, other = torch.zeros(1, SIZE), torch.ones(1, SIZE)
    values[0, 3], other[0, 5] = torch.nan, torch.nan
    _called(code, [values, other], 0)
    assert values.isnan().nonzero().tolist() == [[0, 3], [0, 5]]
    assert values[0, 0] == 1.0


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda values: values.copy_(values.erf()), "erf"),
        (lambda values: values.copy_(values / values.sum(1)), "of a sum"),
        (lambda values: values.copy_(values.half()), "kind of numbers"),
        (lambda values: values.copy_(values * torch.inf), "number inf"),
        (lambda values: values.copy_(values.clamp(0.0, 1.0)), "clamp"),
        (lambda values: values.copy_(values.div(2.0, rounding_mode="floor")), "div"),
    ],
)
def test_what_has_no_loop_is_said(function: Callable[[Tensor], object], reason: str) -> None:
    with pytest.raises(UntranslatedError, match=reason):
        layer_loop("tried", lambda values: (function(values), None)[1], [torch.ones(1, ENTRIES)])
