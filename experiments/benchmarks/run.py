"""All measurements of the benchmark, one after another, as plain values."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from experiments.benchmarks.apart import Apart
from experiments.benchmarks.architectures import ARCHITECTURES
from experiments.benchmarks.bounds import bound_of, work_of
from experiments.benchmarks.config import BenchConfig
from experiments.benchmarks.environments import Ready
from experiments.benchmarks.lines import lines_of
from experiments.benchmarks.machine import Machine, measure_machine, surroundings
from experiments.benchmarks.measure import medians
from experiments.benchmarks.meta_training import measure_meta_training
from experiments.benchmarks.subjects import Kind, LoopKind, VectorKind
from experiments.progress import GridProgress
from lr_env.errors import WorkerError
from lr_env.provenance import describe_run

LONGEST = 300.0
"""Seconds that a size on a GPU may take to begin; the page says which are left out."""


class Benchmark:
    """One run.

    Args:
        config: of the run.
        console: to show progress on.
    """

    def __init__(self, config: BenchConfig, console: Console) -> None:
        self.config = config
        self._kinds = {name: config.kinds(name) for name in config.architectures}
        costs = [10.0, 70.0 * config.meta_training]
        for name, kinds in self._kinds.items():
            guesses = [kind.cost(ARCHITECTURES[name].weight) for kind in kinds]
            turns = config.rounds * sum(max(config.seconds, call) for _, call in guesses)
            costs += [*(ready for ready, _ in guesses), turns, 10.0]
        self._progress = GridProgress(costs, console, "benchmark", "pieces")
        self._shares = [0.0] * len(costs)
        self._piece = 0

    def measure(self) -> dict[str, Any]:
        """Return all figures.

        Raises:
            WorkerError: something cannot be timed that should be on any machine.
        """
        config, began = self.config, time.monotonic()
        results = {**describe_run(config.to_dict()), **surroundings()}
        # One thread a process: two cores are used by two processes.
        torch.set_num_threads(1)
        with self._progress:
            machine = measure_machine(config.rounds, config.seconds)
            self._done()
            meta_training = measure_meta_training() if config.meta_training else None
            self._done()
            found = {name: self._architecture(name, machine) for name in config.architectures}
        return {
            **results,
            "floor": vars(machine),
            "meta_training": meta_training,
            "architectures": found,
            "seconds": time.monotonic() - began,
        }

    def _architecture(self, name: str, machine: Machine) -> dict[str, Any]:
        """Return the lines of one table, and what bounds them."""
        kinds, config = self._kinds[name], self.config
        ready: dict[Kind, Ready] = {}
        notes: dict[Kind, str] = {}
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache,
            ExitStack() as opened,
        ):
            apart: dict[Kind, Apart] = {}
            for kind in kinds:
                try:
                    check_time(kind, ready)
                    apart[kind] = opened.enter_context(closing(Apart(kind, name, Path(cache))))
                    ready[kind] = apart[kind].ready
                except WorkerError as error:
                    if not may_fail(kind):
                        raise
                    notes[kind] = str(error)
                self._done()
            turns = {kind: partial(own.rate, config.seconds) for kind, own in apart.items()}
            rates = medians(turns, config.rounds, self._done)
            for seen in largest_of(kinds):
                products = apart[seen].products()
                if products.update:
                    break
        bound = bound_of(name, products, config.lanes)
        self._done()
        return {
            "lines": lines_of(name, kinds, rates, ready, notes, machine),
            "fastest": dict(
                zip(("arithmetic", "traffic"), work_of(name).fastest(machine), strict=True)
            ),
            "bound": {
                **asdict(bound),
                "seconds": bound.seconds,
                "line": seen.name,
                "compiled": seen.compile,
            },
        }

    def _done(self, share: float = 1.0) -> None:
        """Say that the piece under way is done, or a share of it."""
        self._shares[self._piece] = share
        self._progress.show(self._shares)
        self._piece += share == 1.0


def may_fail(kind: Kind) -> bool:
    """Return whether the rest is timed where this kind cannot be.

    A GPU may be too small or busy, and compiling takes a C++ compiler, without which stacks, but
    no loops, go on eagerly.
    """
    return on_gpu(kind) or (isinstance(kind, LoopKind) and "compiled" in kind.name)


def on_gpu(kind: Kind) -> bool:
    """Return whether that kind is computed on a GPU."""
    return isinstance(kind, VectorKind) and kind.device != "cpu"


def check_time(kind: Kind, ready: Mapping[Kind, Ready]) -> None:
    """Raise WorkerError for a size on a GPU that would take too long to begin, by a smaller one."""
    if not isinstance(kind, VectorKind) or not on_gpu(kind):
        return
    for other, own in ready.items():
        if isinstance(other, VectorKind) and other.way == kind.way and own.reset is not None:
            seconds = own.reset * kind.num / other.num
            if seconds > LONGEST:
                raise WorkerError(
                    f"{kind.name} is left out: to begin all would take {seconds:.0f} s."
                )


def largest_of(kinds: Iterable[Kind]) -> list[VectorKind]:
    """Return the largest environment of one process on the CPU: the compiled, then the eager one.

    Their trainings do not end. A compiled one may have no products of torch's: multilayer
    perceptrons are left to code of our own.
    """
    own = [
        kind
        for kind in kinds
        if isinstance(kind, VectorKind)
        and (kind.workers, kind.device, kind.ending) == (1, "cpu", False)
    ]
    compiled = [kind for kind in own if kind.compile]
    eager = [kind for kind in own if not kind.compile]
    return [max(some, key=lambda kind: kind.num) for some in (compiled, eager) if some]
