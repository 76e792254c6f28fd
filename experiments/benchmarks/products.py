"""The matrix products of a stack's decisions, at their real shapes: what bounds it from below."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from experiments.benchmarks.architectures import STEPS_PER_ACTION
from experiments.benchmarks.measure import rates

ROUNDS, SECONDS = 3, 0.03


@dataclass(frozen=True)
class Layout:
    """Shape and strides of an operand."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def new(self) -> Tensor:
        """Return random numbers laid out so."""
        reach = sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        return torch.randn(reach + 1).as_strided(self.shape, self.strides)


@dataclass(frozen=True)
class Product:
    """A product as it was called.

    Attributes:
        call: name of torch's operator, overload and all.
        operands: its operands, of which some may be plain numbers, and `out` where it had one.
        flops: that it takes.
    """

    call: str
    operands: tuple[Any, ...]
    out: Layout | None
    flops: int

    @property
    def shape(self) -> str:
        """The two matrices' shapes, without how many there are of them."""
        return " by ".join(_times(own[-2:]) for own in self._matrices)

    @property
    def matrices(self) -> int:
        """How many pairs of matrices a call multiplies."""
        return math.prod(self._matrices[0][:-2])

    @property
    def _matrices(self) -> list[tuple[int, ...]]:
        return [own.shape for own in self.operands if isinstance(own, Layout)][-2:]

    def again(self) -> Any:
        """Return the same call on numbers of its own."""
        _, packet, overload = self.call.split(".")
        function = getattr(getattr(torch.ops.aten, packet), overload)
        given = [own.new() if isinstance(own, Layout) else own for own in self.operands]
        return partial(function, *given, **({} if self.out is None else {"out": self.out.new()}))


@dataclass(frozen=True)
class Products:
    """How often products are called, for all trainings of an environment together.

    Attributes:
        num: trainings.
        update: calls for each update, by product.
        evaluation: calls for each decision, by product.
    """

    num: int
    update: Mapping[Product, float]
    evaluation: Mapping[Product, float]


def products_of(envs: Any, num: int) -> Products:
    """Begin `num` trainings anew, and record the products of decisions of few and of more updates.

    The second decision is of one update, the fifth of `STEPS_PER_ACTION`: what they have in common
    besides is the evaluation.
    """
    envs.reset(seed=0)
    seen: list[Counter[Product]] = []
    for _ in range(5):
        with _Recorder() as recorder:
            envs.step(np.zeros(envs.action_space.shape, dtype=np.float32))
        seen.append(recorder.seen)
    few, many = seen[1], seen[4]
    update = {own: (many[own] - few[own]) / (STEPS_PER_ACTION - 1) for own in many}
    evaluation = {own: few[own] - update.get(own, 0.0) for own in few}
    return Products(
        num,
        {own: calls for own, calls in update.items() if calls},
        {own: calls for own, calls in evaluation.items() if calls},
    )


def seconds_of(products: Sequence[Product]) -> dict[Product, float]:
    """Return how long each product takes alone, its operands in the cache, one after another."""
    calls = {own: partial(_repeat, own.again()) for own in products}
    return {own: 1.0 / rate for own, rate in rates(calls, ROUNDS, SECONDS).items()}


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees the calls that are left below `vmap`, autograd and compilation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Counter[Product] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        if func.overloadpacket in flop_registry:
            out = given.get("out")
            flops = flop_registry[func.overloadpacket](*args, out_val=result)
            self.seen[Product(str(func), tuple(map(_layout, args)), _layout(out), flops)] += 1
        return result


def _layout(value: Any) -> Any:
    return Layout(tuple(value.shape), value.stride()) if isinstance(value, Tensor) else value


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _repeat(call: Any) -> float:
    for _ in range(10):
        call()
    return 10.0
