"""Tuned arms: the best rate of a grid, found on validation data with seeds of its own."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.arms import Arm
from experiments.defaults import tuning_grid
from experiments.records import Record
from experiments.runs import RunSpec
from lr_env.tasks import Scale

SpecOf = Callable[[Arm, int], RunSpec]


def trial_specs(arms: Sequence[Arm], scale: Scale, spec_of: SpecOf) -> list[RunSpec]:
    """Return the trials of all tuned arms, each once: arms may share them."""
    rates, seeds = tuning_grid(scale)
    methods = dict.fromkeys(arm.method.tuned_as for arm in arms if arm.tuned)
    return [
        spec_of(Arm(method, rate), seed)
        for method in methods
        if method is not None
        for rate in rates
        for seed in seeds
    ]


def choose_rates(
    arms: Sequence[Arm], scale: Scale, records: Mapping[RunSpec, Record]
) -> tuple[list[Arm], dict[str, Any]]:
    """Return the arms with their rates, and what a report should say of each tuned one.

    The best rate has the highest mean validation accuracy at the end of the budget (the lowest
    loss, where there is no accuracy or it is equal); a run that diverged counts as worst.
    """
    chosen, about = [], {}
    for arm in arms:
        if not arm.tuned:
            chosen.append(arm)
            continue
        own = {s: r for s, r in records.items() if s.arm.method_name == arm.method.tuned_as}
        table = [_row(rate, own) for rate in tuning_grid(scale)[0]]
        best = max(table, key=_score)
        chosen.append(arm.at(best["lr"]))
        about[arm.name] = {
            "trials_of": arm.method.tuned_as,
            "trials": len(own),
            "seeds": list(tuning_grid(scale)[1]),
            "seconds": sum(record["seconds"] for record in own.values()),
            "chosen": best["lr"],
            "at_edge": best in (table[0], table[-1]),
            "table": table,
        }
    return chosen, about


def _row(rate: float, records: Mapping[RunSpec, Record]) -> dict[str, Any]:
    own = [record for spec, record in records.items() if spec.arm.lr == rate]
    diverged = sum(record["diverged_at_step"] is not None for record in own)
    row: dict[str, Any] = {"lr": rate, "diverged": diverged}
    for metric in ("accuracy", "loss"):
        values = [_last(record, metric) for record in own]
        known = [value for value in values if value is not None]
        row[metric] = statistics.fmean(known) if known and len(known) == len(values) else None
    return row


def _last(record: Record, metric: str) -> float | None:
    if record["diverged_at_step"] is not None or not record["points"]:
        return None
    value: float | None = record["points"][-1].get(metric)
    return value


def _score(row: Mapping[str, Any]) -> tuple[float, float]:
    accuracy, loss = row["accuracy"], row["loss"]
    return (
        -math.inf if accuracy is None else accuracy,
        -math.inf if loss is None else -loss,
    )
