"""The lines of a table: each kind's figures, and how they compare with the others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.benchmarks.bounds import work_of
from experiments.benchmarks.environments import Ready
from experiments.benchmarks.loops import PLAIN
from experiments.benchmarks.machine import Machine
from experiments.benchmarks.subjects import Kind, VectorKind


def lines_of(
    architecture: str,
    kinds: Sequence[Kind],
    rates: Mapping[Kind, float],
    ready: Mapping[Kind, Ready],
    notes: Mapping[Kind, str],
    machine: Machine,
) -> list[dict[str, Any]]:
    """Return a line for every kind.

    `rates`: inner steps a second, of those that were timed; `notes`: why the others were not.
    """
    plain = max(rate for kind, rate in rates.items() if kind.name in PLAIN)
    lines = []
    for kind in kinds:
        rate, own = rates.get(kind), ready.get(kind, Ready())
        lines.append({
            "name": kind.name,
            **_of_vector(kind),
            "cores": kind.cores,
            "steps_per_second": rate,
            "decisions_per_second": _over(rate, kind.per_decision),
            "plain_loops": _over(rate, plain),
            **_shares(architecture, kind, rate, machine),
            "memory": _memory(kind, ready),
            "reset": own.reset,
            "first": own.first,
            "note": notes.get(kind, own.warning),
        })  # fmt: skip
    return lines


def _of_vector(kind: Kind) -> dict[str, Any]:
    if not isinstance(kind, VectorKind):
        return {"num": None, "way": None, "compiled": False, "ending": False, "device": "cpu"}
    return {
        "num": kind.num, "way": kind.way, "compiled": kind.compile, "ending": kind.ending,
        "device": kind.device,
    }  # fmt: skip


def _shares(
    architecture: str, kind: Kind, rate: float | None, machine: Machine
) -> dict[str, float | None]:
    """Return which share of its cores' arithmetic and memory traffic a rate is."""
    if isinstance(kind, VectorKind) and kind.device != "cpu":
        return {"of_arithmetic": None, "of_traffic": None}
    # A loop evaluates nothing: it has no decisions.
    arithmetic, traffic = work_of(architecture, kind.per_decision is not None).fastest(machine)
    return {
        "of_arithmetic": _over(rate, kind.cores * arithmetic),
        "of_traffic": _over(rate, kind.cores * traffic),
    }


def _memory(kind: Kind, ready: Mapping[Kind, Ready]) -> float | None:
    """Return the bytes that each training more takes than in the next smaller size of its way.

    None where there is no smaller one, and for processes of its own, whose memory is not its.
    """
    if not isinstance(kind, VectorKind) or kind.workers > 1 or kind not in ready:
        return None
    smaller = [
        own
        for own in ready
        if isinstance(own, VectorKind) and own.way == kind.way and own.num < kind.num
    ]
    if not smaller:
        return None
    other = max(smaller, key=lambda own: own.num)
    peak, before = ready[kind].peak, ready[other].peak
    return None if peak is None or before is None else (peak - before) / (kind.num - other.num)


def _over(rate: float | None, unit: float | None) -> float | None:
    return None if rate is None or unit is None else rate / unit
