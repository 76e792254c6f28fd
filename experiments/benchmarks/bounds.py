"""What bounds the speed: arithmetic and memory traffic of a step, and what the machine can do."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.measure import steps_per_second
from experiments.benchmarks.subjects import (
    ARCHITECTURES,
    BATCH,
    STEPS_PER_ACTION,
    VALIDATION_SAMPLES,
    VectorKind,
    vector_env,
)
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.tasks.family.task import FamilyTask

_PASSES = 8
"""Times that Adam reads or writes a number for each weight: 4 reads, 3 writes, a new gradient."""


@dataclass(frozen=True)
class Machine:
    """What one core does at best: products of large matrices, copies of large tensors."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Work:
    """What one inner step takes at least, its share of the decision's evaluation included."""

    flops: float
    bytes: float

    def fastest(self, machine: Machine) -> tuple[float, float]:
        """Return the inner steps a second that arithmetic and memory would allow alone."""
        return machine.flops / self.flops, machine.bytes / self.bytes


def measure_machine() -> Machine:
    """Measure with PyTorch's present number of threads."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    source, target = torch.randn(1 << 24), torch.empty(1 << 24)

    def product() -> int:
        torch.mm(left, right)
        return 2 * 1024**3

    def copy() -> int:
        target.copy_(source)
        return 2 * source.nbytes

    rates = steps_per_second({"product": product, "copy": copy})
    return Machine(rates["product"], rates["copy"])


def work_of(architecture: str) -> Work:
    """Count the products of a step and of its share of the evaluation, and the bytes they need."""
    task = FamilyTask(ARCHITECTURES[architecture], 0)
    with IsolatedTorchRandomness(0, "model").use():
        model = task.build_model()
    inputs, targets = task.tensors("train")
    held_out, _ = task.tensors("validation")
    with FlopCounterMode(display=False) as step:
        torch.autograd.backward(task.loss(model, (inputs[:BATCH], targets[:BATCH])))
    with FlopCounterMode(display=False) as evaluation, torch.no_grad():
        model(held_out[:VALIDATION_SAMPLES])
    weights = sum(parameter.nbytes for parameter in model.parameters())
    samples = inputs[:BATCH].nbytes + held_out[:VALIDATION_SAMPLES].nbytes / STEPS_PER_ACTION
    return Work(
        flops=step.get_total_flops() + evaluation.get_total_flops() / STEPS_PER_ACTION,
        bytes=_PASSES * weights + samples,
    )


def memory_per_lane(architecture: str, small: int = 128, large: int = 512) -> float:
    """Return the peak memory in bytes that each further training takes, from fresh processes."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        peaks = [
            pool.apply(_peak, (architecture, num)) for num in (small, large)
        ]  # fmt: skip
    return (peaks[1] - peaks[0]) / (large - small)


def _peak(architecture: str, num: int) -> int:
    torch.set_num_threads(1)
    with vector_env(architecture, VectorKind(num)):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kibibytes, but bytes on macOS.
    return peak if sys.platform == "darwin" else peak * 1024
