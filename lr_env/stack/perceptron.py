"""Multilayer perceptrons' losses and gradients by hand-written code, where a stack's model is one.

Compiled by torch, such small networks spend most of their time between the matrix products: every
operation runs over many lanes, whose activations leave the cache. `perceptron.cpp` takes one lane
after another.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from lr_env.errors import DataError, LrEnvError
from lr_env.stack.arithmetic import Batch
from lr_env.stack.model import StackedModel

_MOST = 16
"""Linear layers that a shape has room for."""
_ROWS = 32
"""Samples that are evaluated at a time."""
_ACTIVATIONS: dict[type[nn.Module], int] = {nn.ReLU: 0, nn.Tanh: 1}
_SUFFIXES = {torch.float32: "single", torch.float64: "double"}
_FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp",
    "-shared", "-fPIC",
)  # fmt: skip


class _Shape(ctypes.Structure):
    _fields_ = (
        ("depth", ctypes.c_int32),
        ("batch", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("widths", ctypes.c_int32 * (_MOST + 1)),
        ("activations", ctypes.c_int32 * _MOST),
    )


class Perceptron:
    """A multilayer perceptron with cross-entropy, of any sizes.

    Args:
        widths: inputs, hidden units and classes.
        activations: numbers of those between the linear layers, as in `perceptron.cpp`.
        threads: that share the lanes.
    """

    def __init__(self, widths: list[int], activations: list[int], threads: int) -> None:
        self._widths, self._activations, self._threads = widths, activations, threads

    @classmethod
    def of(
        cls, model: StackedModel, inputs: Tensor, targets: Tensor, threads: int
    ) -> Perceptron | None:
        """Return the perceptron that `model` is; None if it is none, or no compiler is at hand.

        Whether it is one is tried on a few samples `inputs [m, ...]`, `targets [m]`.
        """
        described = _describe(model.template, inputs[0].numel())
        typed = inputs.dtype in _SUFFIXES and targets.dtype == torch.int64
        if described is None or not typed:
            return None
        try:
            _library()
        except OSError:
            return None
        own = cls(*described, threads)
        return own if own._agrees_with(model, inputs, targets) else None

    def differentiate(
        self, flat: Tensor, gradient: Tensor, batch: Batch, running: Tensor | None
    ) -> Tensor:
        """Write gradients of parameters `flat` into `gradient`, both `[n, P]`; return losses.

        Only those of lanes that are `running` `[n]` (None: all): losses `[n]` of others are 0.
        """
        losses = flat.new_empty(len(flat))
        self._call(
            "differentiate", flat, batch.places.shape[1],
            flat, gradient, flat.stride(0), batch.inputs, batch.targets, batch.places, running,
            losses,
        )  # fmt: skip
        return losses

    def evaluate(self, flat: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return losses `[n]` on `inputs [n, m, ...]`, `targets [n, m]`."""
        losses = flat.new_empty(len(flat))
        self._call(
            "evaluate", flat, _ROWS,
            flat, flat.stride(0), inputs, inputs.stride(0), targets, targets.stride(0),
            inputs.shape[1], losses,
        )  # fmt: skip
        return losses

    def _call(self, function: str, flat: Tensor, batch: int, *rest: Tensor | int | None) -> None:
        shape = _Shape(len(self._widths) - 1, batch, self._threads)
        shape.widths[: len(self._widths)] = self._widths
        shape.activations[: len(self._activations)] = self._activations
        called = getattr(_library(), f"{function}_{_SUFFIXES[flat.dtype]}")
        if called(ctypes.byref(shape), *map(_argument, (len(flat), *rest))):
            raise DataError(
                f"A target is no class of 0 to {self._widths[-1] - 1}: mend the data, or leave "
                "`compile` off if the loss passes over such targets."
            )

    def _agrees_with(self, model: StackedModel, inputs: Tensor, targets: Tensor) -> bool:
        """Return whether losses and gradients are those of `model`, whatever its loss is."""
        flat = model.flatten(model.template).to(inputs.dtype).unsqueeze(0)
        samples = inputs.unsqueeze(0), targets.unsqueeze(0)
        try:
            wanted = model.differentiate(flat, model.buffers(1), *samples)
            gradient = torch.zeros_like(flat)
            places = torch.arange(len(targets)).unsqueeze(0)
            losses = self.differentiate(flat, gradient, Batch(inputs, targets, places), None)
        except (RuntimeError, LrEnvError):
            return False
        found = losses, gradient
        return all(
            torch.allclose(one, other, rtol=1e-3, atol=1e-5)
            for one, other in zip(wanted, found, strict=True)
        )


def _describe(model: nn.Module, inputs: int) -> tuple[list[int], list[int]] | None:
    """Return widths and activations, if that is all that the module consists of."""
    widths, activations = [inputs], []
    modules = list(_flattened(model))
    if modules and type(modules[0]) is nn.Flatten:
        modules = modules[1:]
    for index, own in enumerate(modules):
        if index % 2:
            if type(own) not in _ACTIVATIONS:
                return None
            activations.append(_ACTIVATIONS[type(own)])
        elif type(own) is nn.Linear and own.bias is not None and own.in_features == widths[-1]:
            widths.append(own.out_features)
        else:
            return None
    whole = len(modules) % 2 == 1 and len(set(modules)) == len(modules)
    return (widths, activations) if whole and len(widths) <= _MOST + 1 else None


def _flattened(model: nn.Module) -> Iterator[nn.Module]:
    """Yield what a chain of modules consists of."""
    if type(model) is not nn.Sequential:
        yield model
        return
    for own in model:
        yield from _flattened(own)


def _argument(value: Tensor | int | None) -> ctypes.c_void_p | ctypes.c_int64 | None:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    return None if value is None else ctypes.c_int64(value)


@functools.cache
def _library() -> ctypes.CDLL:
    """Compile the code and load it; raise OSError where there is no compiler that can."""
    source = Path(__file__).with_name("perceptron.cpp")
    compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        built = Path(folder) / "perceptron.so"
        try:
            subprocess.run(  # noqa: S603 - the compiler is the user's own
                [*compiler, *_FLAGS, str(source), "-o", str(built)], check=True, capture_output=True
            )
        except subprocess.CalledProcessError as error:
            raise OSError(f"{compiler[0]} does not compile {source.name}") from error
        return ctypes.CDLL(str(built))
