"""A stack's hot functions, traced from the eager ones and compiled by torch's Inductor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from lr_env.stack.arithmetic import Batch, EagerArithmetic, LaneTensors, Move
from lr_env.user_warnings import warn_user


class CompiledArithmetic:
    """`EagerArithmetic`, compiled for every block size that it meets and so many threads.

    The first call of each shape traces and compiles, which takes seconds and a C++ compiler.
    Where that fails, or where the model draws random numbers (dropout), which compiled code
    would draw from other generators, it warns once and goes on eagerly.
    """

    def __init__(self, eager: EagerArithmetic, threads: int) -> None:
        self._eager = eager
        self._threads = threads
        self._graphs: dict[tuple[str, int], Callable[..., Tensor]] = {}
        self.failed = False

    def __getstate__(self) -> dict[str, Any]:
        # Compiled code is neither pickled nor copied, but made anew.
        return {**vars(self), "_graphs": {}}

    def step(self, lanes: LaneTensors, move: Move, batch: Batch, looked: bool) -> Tensor:
        """See `LaneArithmetic`."""
        given = move.leaves()

        def step(lanes: LaneTensors, *rest: Tensor) -> Tensor:
            own, others = rest[: len(given)], rest[len(given) :]
            return self._eager.step(lanes, move.of(own), Batch(*others), looked)

        name = f"step, looked: {looked}, whole: {move.running is None}"
        return self._call(name, step, lanes, *given, *batch)

    def evaluate(self, lanes: LaneTensors, inputs: Tensor, targets: Tensor) -> Tensor:
        """See `LaneArithmetic`."""
        return self._call("evaluate", self._eager.evaluate, lanes, inputs, targets)

    def read(self, lanes: LaneTensors, factors: Tensor) -> Tensor:
        """See `LaneArithmetic`."""
        return self._call("read", self._eager.read, lanes, factors)

    def _call(
        self, name: str, function: Callable[..., Tensor], lanes: LaneTensors, *rest: Any
    ) -> Tensor:
        # All else about the shapes is fixed for the stack's life.
        key = (name, len(lanes.flat))
        if key not in self._graphs:
            self._graphs[key] = self._compile(function, lanes, rest)
        with torch.no_grad():
            result: Tensor = self._graphs[key](*lanes.leaves(), *rest)
        return result

    def _compile(
        self, function: Callable[..., Tensor], lanes: LaneTensors, rest: tuple[Tensor, ...]
    ) -> Callable[..., Tensor]:
        count = len(lanes.leaves())

        def on_leaves(*leaves: Tensor) -> Tensor:
            return function(lanes.of(leaves[:count]), *leaves[count:])

        if self.failed:
            return on_leaves
        try:
            return _compiled(on_leaves, [*lanes.leaves(), *rest], self._threads)
        except Exception as error:
            # Inductor and the C++ compiler below it raise dozens of types; all mean the same here.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            warn_user(
                f"This stack cannot be compiled and runs eagerly ({reason[0][:160]}): leave "
                "`compile` off, or install a C++ compiler if there is none.",
                RuntimeWarning,
            )
            self.failed = True
            return on_leaves


def _compiled(
    function: Callable[..., Tensor], leaves: list[Tensor], threads: int
) -> Callable[..., Any]:
    """Trace on copies, since tracing runs the function, and compile."""
    copies = [own.clone(memory_format=torch.preserve_format) for own in leaves]
    gpus = sorted({own.device for own in leaves if own.is_cuda}, key=str)
    with torch.random.fork_rng(devices=gpus), _ExchangedProducts(), torch.no_grad():
        graph = make_fx(function)(*copies)
    for node in graph.graph.nodes:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags:
            raise RuntimeError(f"it draws random numbers ({node.target})")
    options: dict[str, Any] = {"cpp.threads": threads, "size_asserts": False}
    given: list[Any] = list(copies)
    compiled = torch._inductor.compile(graph, given, options=options)
    return lambda *leaves: compiled(*leaves)


class _ExchangedProducts(TorchFunctionMode):
    """Computes linear maps as `(W x^T)^T`: the same numbers, and gradients come out in place.

    Batched products are fast for few outputs too in this order, and the weights' gradients need
    no transposing copy.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.linear and not kwargs and args[0].ndim == 2:
            inputs, weight, *rest = args
            outputs = (weight @ inputs.transpose(-1, -2)).transpose(-1, -2)
            return outputs + rest[0] if rest and rest[0] is not None else outputs
        return func(*args, **(kwargs or {}))
