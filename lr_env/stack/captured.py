"""A stack's hot functions as CUDA graphs: all kernels of an update are launched at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lr_env.stack.arithmetic import Batch, EagerArithmetic, LaneTensors, Move
from lr_env.user_warnings import warn_user

WARM_UPS = 3
"""Calls made eagerly before one is captured: libraries set themselves up, which no graph may do."""


class Captured(NamedTuple):
    """A function on tensors that stay where they are: what it reads and where it writes.

    Fields: inputs: to be filled before; replay: runs it; result: to be read after.
    """

    inputs: list[Tensor]
    replay: Callable[[], Any]
    result: Tensor


class CapturedArithmetic:
    """`EagerArithmetic` on a GPU, captured as a CUDA graph for every kind of call that it meets.

    An update of small networks is hundreds of kernels that take longer to launch than to run. The
    stack's own tensors are captured where they lie; what changes from call to call is copied
    to where the graph reads it. Where capture fails, or where the model draws random numbers
    (dropout), it warns once and goes on eagerly.
    """

    def __init__(self, eager: EagerArithmetic, device: torch.device) -> None:
        self._eager = eager
        self._device = device
        self._graphs: dict[Any, Captured] = {}
        self._calls: Counter[Any] = Counter()
        self.failed = False

    def __getstate__(self) -> dict[str, Any]:
        # Graphs are neither pickled nor copied, but made anew.
        return {**vars(self), "_graphs": {}, "_calls": Counter()}

    def step(self, lanes: LaneTensors, move: Move, batch: Batch, looked: bool) -> Tensor:
        """See `LaneArithmetic`."""

        def update(*given: Tensor) -> Tensor:
            again = batch._replace(places=given[-1])
            return self._eager.step(lanes, move.of(given[:-1]), again, looked)

        name = f"step, looked: {looked}, whole: {move.running is None}"
        samples = (batch.inputs, batch.targets)
        return self._call(name, update, lanes, samples, [*move.leaves(), batch.places])

    def evaluate(self, lanes: LaneTensors, inputs: Tensor, targets: Tensor) -> Tensor:
        """See `LaneArithmetic`."""

        def evaluate() -> Tensor:
            return self._eager.evaluate(lanes, inputs, targets)

        return self._call("evaluate", evaluate, lanes, (inputs, targets), [])

    def read(self, lanes: LaneTensors, factors: Tensor) -> Tensor:
        """See `LaneArithmetic`."""

        def read(given: Tensor) -> Tensor:
            return self._eager.read(lanes, given)

        return self._call("read", read, lanes, (), [factors])

    def _call(
        self,
        name: str,
        function: Callable[..., Tensor],
        lanes: LaneTensors,
        lasting: Sequence[Tensor],
        passing: list[Tensor],
    ) -> Tensor:
        """Return `function` of the `passing` tensors; those of `lasting` stay where they are."""
        if self.failed:
            return function(*passing)
        # A graph reads and writes where it was captured to: tensors elsewhere need another.
        places = tuple(own.data_ptr() for own in (*lanes.leaves(), *lasting))
        key = (name, len(lanes.flat), places)
        captured = self._graphs.get(key)
        if captured is None:
            self._calls[key] += 1
            result = self._aside(function, passing)
            if self._calls[key] == WARM_UPS and not self.failed:
                self._capture(key, function, passing, torch.empty_like(result))
            return result
        if captured.inputs:
            torch._foreach_copy_(captured.inputs, passing)
        captured.replay()
        return captured.result.clone()

    def _aside(self, function: Callable[..., Tensor], passing: list[Tensor]) -> Tensor:
        """Call it eagerly, and find out whether it draws random numbers."""
        before = self._generators()
        result = aside(function, passing, self._device)
        if not torch.equal(before, self._generators()):
            self._give_up("it draws random numbers")
        return result

    def _capture(
        self, key: Any, function: Callable[..., Tensor], passing: list[Tensor], result: Tensor
    ) -> None:
        """Record a call without making it."""
        inputs = [own.clone() for own in passing]
        try:
            replay = recorded(lambda: result.copy_(function(*inputs)), self._device)
        except Exception as error:
            # Whatever a model does that no graph can hold, it is raised in types of all kinds.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            self._give_up(reason[0][:160])
            return
        self._graphs[key] = Captured(inputs, replay, result)

    def _give_up(self, reason: str) -> None:
        self.failed = True
        warn_user(
            f"This stack cannot be captured as CUDA graphs and runs eagerly ({reason}): leave "
            "dropout out of its model, or expect small networks to be slow on a GPU.",
            RuntimeWarning,
        )

    def _generators(self) -> Tensor:
        """Return the states of the generators that a model may draw from."""
        on_gpu = self._device.type == "cuda"
        own = [torch.cuda.get_rng_state(self._device)] if on_gpu else []
        return torch.cat([torch.get_rng_state(), *own])


def aside(
    function: Callable[..., Tensor], passing: Sequence[Tensor], device: torch.device
) -> Tensor:
    """Call it on a stream of its own, as what is to be captured has to be called before."""
    with torch.cuda.device(device):
        here, there = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        there.wait_stream(here)
        with torch.cuda.stream(there):
            result = function(*passing)
        here.wait_stream(there)
        result.record_stream(here)
    return result


def recorded(function: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """Return what replays `function`, which is recorded and not run."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device):
        here, there = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        # The outer one comes back from a capture that failed, too.
        with torch.cuda.stream(here), torch.cuda.graph(graph, stream=there):
            function()
    replay: Callable[[], None] = graph.replay
    return replay
