"""What bounds the speed: what a step takes at least, counted, and timed in its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.architectures import (
    ARCHITECTURES,
    BATCH,
    STEPS_PER_ACTION,
    VALIDATION_SAMPLES,
)
from experiments.benchmarks.loops import fused_adam
from experiments.benchmarks.machine import Machine
from experiments.benchmarks.measure import rates
from experiments.benchmarks.products import Product, Products, seconds_of
from lr_env.randomness import IsolatedTorchRandomness

_PASSES = 8
"""Times that Adam reads or writes a number for each weight: 4 reads, 3 writes, a new gradient."""
PARTS = ("update", "evaluation")


@dataclass(frozen=True)
class Work:
    """What one inner step takes at least: products, and the bytes that they and Adam need."""

    flops: float
    bytes: float

    def fastest(self, machine: Machine) -> tuple[float, float]:
        """Return the inner steps a second that arithmetic and memory would allow alone."""
        return machine.flops / self.flops, machine.bytes / self.bytes


@dataclass(frozen=True)
class Bound:
    """The seconds that a step of one training takes at least, as the parts that were timed.

    Attributes:
        update, evaluation: in the products of the update, and in a step's share of those of the
            decision's evaluation.
        adam: in Adam's fused kernel, at the number of trainings that suits it best.
        adam_together: in the same for so many trainings at once, by that number.
        products: for each pair of shapes which of `PARTS` it belongs to, how many products of it
            a step has, their seconds, and their FLOP/s; those that take most come first.
    """

    update: float
    evaluation: float
    adam: float
    adam_together: Mapping[str, float]
    products: Sequence[Mapping[str, Any]]

    @property
    def seconds(self) -> float:
        """All parts together."""
        return self.update + self.evaluation + self.adam


def work_of(architecture: str, evaluates: bool = True) -> Work:
    """Count a step; `evaluates`: with its share of the decision's evaluation."""
    task = ARCHITECTURES[architecture].task(0)
    with IsolatedTorchRandomness(0, "model").use():
        model = task.build_model()
    inputs, targets = task.tensors("train")
    held_out = task.tensors("validation")[0][:VALIDATION_SAMPLES]
    with FlopCounterMode(display=False) as step:
        torch.autograd.backward(task.loss(model, (inputs[:BATCH], targets[:BATCH])))
    with FlopCounterMode(display=False) as evaluation, torch.no_grad():
        model(held_out)
    share = 1.0 / STEPS_PER_ACTION if evaluates else 0.0
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return Work(
        flops=step.get_total_flops() + evaluation.get_total_flops() * share,
        bytes=_PASSES * weights + inputs[:BATCH].nbytes + held_out.nbytes * share,
    )


def bound_of(architecture: str, products: Products, together: Sequence[int]) -> Bound:
    """Time the products alone, and Adam on the weights of so many trainings."""
    seconds = seconds_of([*products.update, *products.evaluation])
    adam = _adam(architecture, together)
    lines = [
        *_lines("update", products.update, products.num, seconds),
        *_lines("evaluation", products.evaluation, products.num * STEPS_PER_ACTION, seconds),
    ]
    parts = {part: sum(own["seconds"] for own in lines if own["part"] == part) for part in PARTS}
    return Bound(
        **parts,
        adam=min(adam.values()),
        adam_together={str(num): own for num, own in adam.items()},
        products=sorted(lines, key=lambda own: -float(own["seconds"])),
    )


def _adam(architecture: str, together: Sequence[int]) -> dict[int, float]:
    """Return the seconds for each training of updates of so many at once."""
    with IsolatedTorchRandomness(0, "model").use():
        model = ARCHITECTURES[architecture].task(0).build_model()
    size = sum(parameter.numel() for parameter in model.parameters())

    def update(num: int) -> Any:
        weights = torch.randn(num, size)
        step, gradient = fused_adam([weights]), [torch.randn(num, size)]

        def run() -> float:
            step(gradient)
            return float(num)

        return run

    found = rates({num: update(num) for num in together}, seconds=0.05)
    return {num: 1.0 / rate for num, rate in found.items()}


def _lines(
    part: str, calls: Mapping[Product, float], share: float, seconds: Mapping[Product, float]
) -> list[dict[str, Any]]:
    """Return a line for each pair of shapes; `share`: steps of a training that they are for."""
    lines: dict[str, dict[str, Any]] = {}
    for own, number in calls.items():
        line = lines.setdefault(own.shape, {"products": 0.0, "seconds": 0.0, "flops": 0.0})
        line["products"] += number * own.matrices / share
        line["seconds"] += number * seconds[own] / share
        line["flops"] += number * own.flops / share
    return [
        {"part": part, "shape": shape, "products": own["products"], "seconds": own["seconds"],
         "flops_per_second": own["flops"] / own["seconds"]}
        for shape, own in lines.items()
    ]  # fmt: skip
