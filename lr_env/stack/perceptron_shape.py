"""Which models are multilayer perceptrons, and of what shape."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

_MOST = 16
"""Linear layers that `perceptron.cpp` has room for."""
_ACTIVATIONS: dict[type[nn.Module], int] = {nn.ReLU: 0, nn.Tanh: 1}


class _Shape(ctypes.Structure):
    _fields_ = (
        ("depth", ctypes.c_int32),
        ("batch", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("widths", ctypes.c_int32 * (_MOST + 1)),
        ("activations", ctypes.c_int32 * _MOST),
    )


@dataclass(frozen=True)
class PerceptronShape:
    """Linear layers with activations between them.

    Attributes:
        widths: inputs, hidden units and classes.
        activations: numbers of those between the layers, as in `perceptron.cpp`.
    """

    widths: tuple[int, ...]
    activations: tuple[int, ...]

    @classmethod
    def of(cls, model: nn.Module, inputs: int) -> PerceptronShape | None:
        """Return the shape of `model` on so many inputs, if it consists of nothing else."""
        if any(True for _ in model.buffers()):
            return None
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
        fits = whole and len(widths) <= _MOST + 1
        return cls(tuple(widths), tuple(activations)) if fits else None

    @property
    def sizes(self) -> list[int]:
        """The entries of each layer, if no weights are shared."""
        return [(before + 1) * after for before, after in itertools.pairwise(self.widths)]

    @property
    def classes(self) -> int:
        """The number of outputs."""
        return self.widths[-1]

    def described(self, batch: int, threads: int) -> ctypes.Structure:
        """Return what `perceptron.cpp` is told, with the size of a mini-batch and threads."""
        shape = _Shape(len(self.widths) - 1, batch, threads)
        shape.widths[: len(self.widths)] = self.widths
        shape.activations[: len(self.activations)] = self.activations
        return shape


def _flattened(model: nn.Module) -> Iterator[nn.Module]:
    """Yield what a chain of modules consists of."""
    if type(model) is not nn.Sequential:
        yield model
        return
    for own in model:
        yield from _flattened(own)
