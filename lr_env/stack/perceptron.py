"""Multilayer perceptrons from one decision to the next by code of our own, where a stack has them.

Compiled by torch, such small networks spend most of their time between the matrix products: every
operation runs over many lanes, whose activations leave the cache, and so do weights from one
update to the next. `perceptron.cpp` takes one lane after another through the whole interval. It
holds the network alone; updates and statistics are loops made from the eager arithmetic.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lr_env.errors import CompilerError, DataError
from lr_env.stack.arithmetic import EagerArithmetic, LaneTensors, Move
from lr_env.stack.interval import Interval, Readings
from lr_env.stack.layer_loops import ENTRIES, UntranslatedError, layer_loop
from lr_env.stack.model import StackedModel
from lr_env.stack.native import library
from lr_env.stack.optimizers import StackedOptimizer
from lr_env.stack.perceptron_shape import PerceptronShape
from lr_env.statistics import RAW_STATISTICS
from lr_env.user_warnings import warn_user

_SUFFIXES = {torch.float32: "single", torch.float64: "double"}
_SOURCE = Path(__file__).with_name("perceptron.cpp")
_FUNCTIONS = ("update", "update_looked", "read")
_LANE, _LAYERS, _ENTRIES = range(3)


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
        shape: of the network.
        sizes: of the layers, in entries.
        loops: C++ of `_FUNCTIONS`, on a layer.
        threads: that share the lanes.
    """

    def __init__(
        self, shape: PerceptronShape, sizes: Sequence[int], loops: str, threads: int
    ) -> None:
        self._shape, self._threads = shape, threads
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
        """Return what runs trainings of `model`, whose loss is cross-entropy; None if it cannot.

        None is for other models, for an optimizer that has no loops, and, after a warning, for
        the lack of a compiler. What it returns has been tried on a few `samples`: inputs
        `[m, ...]`, targets `[m]`.
        """
        inputs, targets = samples
        shape = PerceptronShape.of(model.template, inputs[0].numel())
        if shape is None or inputs.dtype not in _SUFFIXES or targets.dtype != torch.int64:
            return None
        if list(sizes) != shape.sizes or model.size != sum(sizes):  # shared weights
            return None
        try:
            loops = _layer_loops(EagerArithmetic(model, optimizer, [ENTRIES]), optimizer, inputs)
            own = cls(shape, sizes, loops, threads)
            return own if own._agrees_with(model, optimizer, samples) else None
        except CompilerError as error:
            warn_user(f"Perceptrons are left to torch's compiler: {error}", RuntimeWarning)
        except UntranslatedError:
            pass
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
            CompilerError: it comes from another process, and no compiler is at hand in this one.
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
        one = slice(0, 1)
        for own in (*tensors.values(), *lanes.leaves()):
            # Held-out samples are the first of more.
            assert own[one].is_contiguous()  # noqa: S101
        what = _Interval(
            lanes=len(flat), layers=len(self._offsets) - 1, statistics=len(RAW_STATISTICS),
            samples=held_out[0].shape[1], num_given=len(given), stride=flat.stride(0),
            held_out_stride=held_out[0].stride(0),
            held_out_targets_stride=held_out[1].stride(0),
            given=ctypes.addressof(described),
            **{name: _address(self._loops, name) for name in _FUNCTIONS},
            **{name: own.data_ptr() for name, own in tensors.items()},
        )  # fmt: skip
        train = getattr(_network(), f"train_{_SUFFIXES[flat.dtype]}")
        shape = self._shape.described(interval.batches.shape[2], self._threads)
        if train(ctypes.byref(shape), ctypes.byref(what)):
            raise DataError(
                f"A target is no class of 0 to {self._shape.classes - 1}: mend the data, or leave "
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
        # One update at a rate of 0, for the gradient after it.
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
        lanes = LaneTensors.fresh(flat.clone(), optimizer.init(flat), {}, interval.scales.shape[1])
        # Without a gradient an optimizer without an epsilon would divide by 0.
        lanes.gradient.fill_(1.0)
        try:
            loss, gradient = model.differentiate(flat, model.buffers(1), *every)
            wanted = loss, gradient, model.evaluate(flat, model.buffers(1), *every)
            readings = self.run(interval, lanes, samples, every)
        except (RuntimeError, DataError):
            return False
        found = readings.losses[0], lanes.gradient, readings.validation
        relative, absolute = (1e-3, 1e-5) if flat.dtype == torch.float32 else (1e-9, 1e-11)
        return all(
            torch.allclose(one, other, rtol=relative, atol=absolute)
            for one, other in zip(wanted, found, strict=True)
        )


def _layer_loops(eager: EagerArithmetic, optimizer: StackedOptimizer, like: Tensor) -> str:
    """Return C++ of `_FUNCTIONS`, on a layer's tensors in the order of `Perceptron.run`."""
    entries, one = like.new_zeros((1, ENTRIES)), like.new_ones((1, 1))
    factors = optimizer.factors(one)
    layer = LaneTensors.fresh(entries, optimizer.init(entries), {}, 1)
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


@functools.cache
def _network() -> ctypes.CDLL:
    return library(_SOURCE.read_text("utf-8"))


@functools.cache
def _address(code: str, function: str) -> int:
    """Return where the function of that name in C++ `code` lies, once it is compiled."""
    return ctypes.cast(getattr(library(code), function), ctypes.c_void_p).value or 0
