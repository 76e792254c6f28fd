"""What is timed: loops, single environments and vector environments, each opened as a subject."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import gymnasium
import torch

from experiments.benchmarks.architectures import (
    ARCHITECTURES,
    ENDING,
    STEPS_PER_ACTION,
    UNENDING,
    Architecture,
)
from experiments.benchmarks.environments import Ready, decide, environments, stagger
from experiments.benchmarks.loops import LOOPS, batches
from experiments.benchmarks.products import Products, products_of
from lr_env.decisions import total_steps_of
from lr_env.env import LayerwiseLREnv
from lr_env.registration import register_envs

_ID = "lr_env/LayerwiseLR-v0"


@dataclass(frozen=True)
class Subject:
    """Something that works when it is called.

    Attributes:
        run: does some work; returns the inner steps that it was.
        ready: how it came to be.
        products: returns the matrix products of its decisions.
    """

    run: Callable[[], float]
    ready: Ready
    products: Callable[[], Products] | None = None


class Kind(Protocol):
    """A line of the tables.

    Attributes:
        name: in the tables.
        cores: that it keeps busy.
        per_decision: inner steps of a training's decision; None where there are no decisions.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def cores(self) -> int: ...  # noqa: D102
    @property
    def per_decision(self) -> float | None: ...  # noqa: D102

    def cost(self, weight: float) -> tuple[float, float]:
        """Return guesses of the seconds until it is ready, and of one call."""

    def open(self, architecture: str) -> Any:
        """Give the subject, in a context that closes it."""


@dataclass(frozen=True)
class LoopKind:
    """One training in a loop of `LOOPS`."""

    name: str
    cores = 1
    per_decision = None

    def cost(self, weight: float) -> tuple[float, float]:
        """See `Kind`."""
        return (8.0 if "compiled" in self.name else 1.0), 0.1

    @contextmanager
    def open(self, architecture: str) -> Iterator[Subject]:
        """Give a hundred steps of it."""
        began = time.perf_counter()
        task = ARCHITECTURES[architecture].task(0)
        loop, samples = LOOPS[self.name](task), batches(task)

        def train() -> float:
            for _ in range(100):
                loop.step(*next(samples))
            return 100.0

        train()
        yield Subject(train, Ready(first=time.perf_counter() - began))


@dataclass(frozen=True)
class SingleKind:
    """Single environments in Gymnasium's own vector environments."""

    num: int
    processes: bool
    per_decision = float(STEPS_PER_ACTION)

    @property
    def name(self) -> str:
        """See `Kind`."""
        return f"{'AsyncVectorEnv' if self.processes else 'SyncVectorEnv'} of {self.num}"

    @property
    def cores(self) -> int:
        """See `Kind`."""
        return min(self.num, os.cpu_count() or 1) if self.processes else 1

    def cost(self, weight: float) -> tuple[float, float]:
        """See `Kind`."""
        return 3.0, 0.01 * self.num

    @contextmanager
    def open(self, architecture: str) -> Iterator[Subject]:
        """Give one decision of all."""
        make = partial(_single, architecture)
        kind = gymnasium.vector.AsyncVectorEnv if self.processes else gymnasium.vector.SyncVectorEnv
        with environments(lambda: kind([make] * self.num)) as (envs, ready):
            yield Subject(partial(decide, envs, self.num * self.per_decision), ready)


@dataclass(frozen=True)
class VectorKind:
    """One way to have a vector environment.

    Attributes:
        num: trainings.
        workers: processes that they are divided among.
        compile: whether they are compiled.
        ending: whether trainings end and begin anew meanwhile, each at a time of its own.
        device: where they are computed.
    """

    num: int
    workers: int = 1
    compile: bool = False
    ending: bool = False
    device: str = "cpu"

    @property
    def name(self) -> str:
        """See `Kind`."""
        return f"make_vec of {self.num:,}{self.way}"

    @property
    def way(self) -> str:
        """What the name says besides the number: sizes of one way are compared."""
        return "".join([
            ", compiled" if self.compile else "",
            f", {self.workers} processes" if self.workers > 1 else "",
            f", trainings of {ENDING} decisions" if self.ending else "",
            f", on {self.device}" if self.device != "cpu" else "",
        ])  # fmt: skip

    @property
    def cores(self) -> int:
        """See `Kind`."""
        return self.workers

    @property
    def per_decision(self) -> float:
        """See `Kind`; the decisions that a training begins with are of fewer steps."""
        return (
            total_steps_of(ENDING, STEPS_PER_ACTION) / ENDING if self.ending else STEPS_PER_ACTION
        )

    def cost(self, weight: float) -> tuple[float, float]:
        """See `Kind`."""
        call = 0.0005 * weight * self.num
        compiling = 15.0 * weight if self.compile else 0.0
        return 0.02 * self.num + compiling + ENDING * self.ending * call, call

    @contextmanager
    def open(self, architecture: str) -> Iterator[Subject]:
        """Give one decision of all trainings."""
        with environments(partial(self._make, ARCHITECTURES[architecture])) as (envs, ready):
            if self.ending:
                stagger(envs, self.num)
            yield Subject(
                partial(decide, envs, self.num * self.per_decision),
                ready,
                partial(products_of, envs, self.num),
            )

    def _make(self, own: Architecture) -> Any:
        register_envs()
        return gymnasium.make_vec(
            _ID, num_envs=self.num, workers=self.workers, compile=self.compile,
            num_decisions=ENDING if self.ending else UNENDING, device=self.device, **own.arguments,
        )  # fmt: skip


def _single(architecture: str) -> LayerwiseLREnv:
    # In a process of AsyncVectorEnv it is the first to be heard.
    torch.set_num_threads(1)
    return LayerwiseLREnv(**ARCHITECTURES[architecture].arguments, num_decisions=UNENDING)
