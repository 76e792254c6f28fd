"""Multilayer perceptrons from one decision to the next by code of our own, where a stack has them.

Compiled by torch, such small networks spend most of their time between the matrix products: every
operation runs over many lanes, whose activations leave the cache, and so do weights from one
update to the next. `perceptron.cpp` takes one lane after another through the whole interval. It
holds the network alone; updates and statistics are loops made from the eager arithmetic.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lr_env.errors import DataError, LrEnvError
from lr_env.stack.arithmetic import EagerArithmetic, LaneTensors, Move
from lr_env.stack.interval import Interval, Readings
from lr_env.stack.layer_loops import ENTRIES, UntranslatedError, layer_loop
from lr_env.stack.model import StackedModel
from lr_env.stack.native import library
from lr_env.stack.optimizers import StackedOptimizer
from lr_env.statistics import RAW_STATISTICS

_MOST = 16
"""Linear layers that a shape has room for."""
_ACTIVATIONS: dict[type[nn.Module], int] = {nn.ReLU: 0, nn.Tanh: 1}
_SUFFIXES = {torch.float32: "single", torch.float64: "double"}
_SOURCE = Path(__file__).with_name("perceptron.cpp")
_FUNCTIONS = ("update", "update_looked", "read")
_LANE, _LAYERS, _ENTRIES = range(3)


class _Shape(ctypes.Structure):
    _fields_ = (
        ("depth", ctypes.c_int32),
        ("batch", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("widths", ctypes.c_int32 * (_MOST + 1)),
        ("activations", ctypes.c_int32 * _MOST),
    )


class _Given(ctypes.Structure):
    _fields_ = (
        ("at", ctypes.c_void_p),
        ("lane", ctypes.c_int64),
        ("turn", ctypes.c_int64),
        ("along", ctypes.c_int32),
    )


class _Interval(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int64) for name in (
        "lanes", "layers", "statistics", "samples", "num_given", "stride", "held_out_stride",
        "held_out_targets_stride",
    )) + tuple((name, ctypes.c_void_p) for name in (
        "offsets", "counts", "given", *_FUNCTIONS, "flat", "gradient", "inputs", "targets",
        "places", "losses", "held_out", "held_out_targets", "validation", "raw",
    ))  # fmt: skip


class Perceptron:
    """An `IntervalRunner` of multilayer perceptrons with cross-entropy, of any sizes.

    Args:
        widths: inputs, hidden units and classes.
        activations: numbers of those between the linear layers, as in `perceptron.cpp`.
        sizes: of the layers, in entries.
        loops: C++ of `_FUNCTIONS`, on a layer.
        threads: that share the lanes.
    """

    def __init__(
        self,
        widths: list[int],
        activations: list[int],
        sizes: Sequence[int],
        loops: str,
        threads: int,
    ) -> None:
        self._widths, self._activations, self._threads = widths, activations, threads
        self._offsets = torch.tensor([0, *sizes]).cumsum(0)
        self._loops = loops

    @classmethod
    def of(
        cls,
        model: StackedModel,
        optimizer: StackedOptimizer,
        sizes: Sequence[int],
        samples: tuple[Tensor, Tensor],
        threads: int,
    ) -> Perceptron | None:
        """Return what runs trainings of `model`; None if it is no perceptron.

        None as well if no compiler is at hand. Whether it is one is tried on a few `samples`:
        inputs `[m, ...]`, targets `[m]`.
        """
        inputs, targets = samples
        described = _describe(model.template, inputs[0].numel())
        typed = inputs.dtype in _SUFFIXES and targets.dtype == torch.int64
        if described is None or not typed:
            return None
        try:
            loops = _layer_loops(EagerArithmetic(model, optimizer, [ENTRIES]), optimizer, inputs)
            own = cls(*described, sizes, loops, threads)
            return own if own._agrees_with(model, optimizer, samples) else None
        except (OSError, UntranslatedError):
            return None

    def run(
        self,
        interval: Interval,
        lanes: LaneTensors,
        samples: tuple[Tensor, Tensor],
        held_out: tuple[Tensor, Tensor],
    ) -> Readings:
        """See `IntervalRunner`.

        Raises:
            DataError: a target is no class.
        """
        flat = lanes.flat
        readings = Readings(
            losses=flat.new_zeros(interval.running.shape),
            validation=flat.new_empty(len(flat)),
            raw=flat.new_empty((*lanes.direction.shape, len(RAW_STATISTICS))),
        )
        last, scales = flat.new_ones(1), interval.scales.contiguous()
        given = [
            *(
                _Given(own.data_ptr(), own.stride(0), 0, _along(own, flat))
                for own in lanes.leaves()
            ),
            _Given(scales.data_ptr(), scales.stride(0), 0, _LAYERS),
            *(
                _Given(own.data_ptr(), own.stride(1), own.stride(0), _LANE)
                for own in (interval.rates, interval.factors)
            ),
            _Given(last.data_ptr(), 0, 0, _LANE),
            _Given(interval.reached.data_ptr(), interval.reached.stride(0), 0, _LANE),
        ]
        described = (_Given * len(given))(*given)
        tensors = {
            "offsets": self._offsets, "counts": interval.counts, "flat": flat,
            "gradient": lanes.gradient, "inputs": samples[0], "targets": samples[1],
            "places": interval.batches, "held_out": held_out[0], "held_out_targets": held_out[1],
            **readings._asdict(),
        }  # fmt: skip
        what = _Interval(
            lanes=len(flat), layers=len(self._offsets) - 1, statistics=len(RAW_STATISTICS),
            samples=held_out[0].shape[1], num_given=len(given), stride=flat.stride(0),
            held_out_stride=held_out[0].stride(0),
            held_out_targets_stride=held_out[1].stride(0),
            given=ctypes.addressof(described),
            **{name: _address(self._loops, name) for name in _FUNCTIONS},
            **{name: own.data_ptr() for name, own in tensors.items()},
        )  # fmt: skip
        shape = _Shape(len(self._widths) - 1, interval.batches.shape[2], self._threads)
        shape.widths[: len(self._widths)] = self._widths
        shape.activations[: len(self._activations)] = self._activations
        train = getattr(library(_SOURCE.read_text("utf-8")), f"train_{_SUFFIXES[flat.dtype]}")
        if train(ctypes.byref(shape), ctypes.byref(what)):
            raise DataError(
                f"A target is no class of 0 to {self._widths[-1] - 1}: mend the data, or leave "
                "`compile` off if the loss passes over such targets."
            )
        return readings

    def _agrees_with(
        self,
        model: StackedModel,
        optimizer: StackedOptimizer,
        samples: tuple[Tensor, Tensor],
    ) -> bool:
        """Return whether losses and gradients are those of `model`, whatever its loss is."""
        inputs, targets = samples
        flat = model.flatten(model.template).to(inputs.dtype).unsqueeze(0)
        every = inputs.unsqueeze(0), targets.unsqueeze(0)
        zero = flat.new_zeros((1, 1, 1))
        factors = optimizer.factors(zero[0] + 1.0)
        # One update that changes nothing, for the gradient after it.
        interval = Interval(
            counts=torch.ones(1, dtype=torch.long),
            running=torch.ones((1, 1), dtype=torch.bool),
            last=torch.ones((1, 1), dtype=torch.bool),
            scales=flat.new_ones((1, len(self._offsets) - 1)),
            rates=zero,
            factors=factors.unsqueeze(0),
            reached=factors,
            batches=torch.arange(len(targets)).view(1, 1, -1),
        )
        rows = flat.new_zeros(interval.scales.shape)
        lanes = LaneTensors(
            flat=flat.clone(), gradient=torch.zeros_like(flat), state=optimizer.init(flat),
            buffers={}, initial=flat, update=torch.zeros_like(flat), direction=rows,
            previous_dot=rows.clone(),
        )  # fmt: skip
        try:
            loss, gradient = model.differentiate(flat, model.buffers(1), *every)
            wanted = loss, gradient, model.evaluate(flat, model.buffers(1), *every)
            readings = self.run(interval, lanes, samples, every)
        except (RuntimeError, LrEnvError):
            return False
        found = readings.losses[0], lanes.gradient, readings.validation
        return all(
            torch.allclose(one, other, rtol=1e-3, atol=1e-5)
            for one, other in zip(wanted, found, strict=True)
        )


def _layer_loops(eager: EagerArithmetic, optimizer: StackedOptimizer, like: Tensor) -> str:
    """Return C++ of `_FUNCTIONS`, on a layer's tensors in the order of `Perceptron.run`."""
    entries, one = like.new_zeros((1, ENTRIES)), like.new_ones((1, 1))
    factors = optimizer.factors(one)
    layer = LaneTensors(entries, entries, optimizer.init(entries), {}, entries, entries, one, one)
    count = len(layer.leaves())
    given = [*layer.leaves(), one, one, factors, one[0].bool(), factors]

    def update(*given: Tensor, looked: bool = False) -> None:
        scales, rate, factors, last, _ = given[count:]
        # Of a single layer, its factor is that of all entries.
        move = Move(scales, scales, rate, factors, None, last)
        eager.update(layer.of(given[:count]), move, looked)

    def read(*given: Tensor) -> Tensor:
        return eager.read(layer.of(given[:count]), given[-1])

    functions = (update, functools.partial(update, looked=True), read)
    named: list[tuple[str, Callable[..., Any]]] = list(zip(_FUNCTIONS, functions, strict=True))
    return "\n".join(layer_loop(name, own, given) for name, own in named)


def _along(own: Tensor, flat: Tensor) -> int:
    return _ENTRIES if own.shape == flat.shape else _LAYERS


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


@functools.cache
def _address(code: str, function: str) -> int:
    """Return where the function of that name in C++ `code` lies, once it is compiled."""
    return ctypes.cast(getattr(library(code), function), ctypes.c_void_p).value or 0
