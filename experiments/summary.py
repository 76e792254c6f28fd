"""From records to the summary: everything that tables, pictures and reports say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from experiments.arms import Arm
from experiments.convergence import epochs_to_target, summarise_convergence
from experiments.statistics import (
    holm,
    interquartile_mean,
    mean_interval,
    paired_difference,
    verdict,
)
from lr_env.tasks import Task

Record = dict[str, Any]
LOWER_IS_BETTER = ("loss",)


def summarise(arms: Sequence[Arm], records: dict[str, list[Record]], task: Task) -> dict[str, Any]:
    """Return the summary of all arms; `records` by arm name, in the order of seeds."""
    names = _metric_names(records)
    share = task.size("test") / task.size("train") if task.overlapping_splits else None
    return {
        "metrics": names,
        "lower_is_better": [name for name in names if name in LOWER_IS_BETTER],
        "target_accuracy": task.target_accuracy,
        "arms": {arm.name: _arm(arm, records[arm.name], names, task) for arm in arms},
        "differences": _differences(arms, records, names, share),
        "corrected_for_overlap": share is not None,
    }


def _arm(arm: Arm, records: Sequence[Record], names: Sequence[str], task: Task) -> dict[str, Any]:
    test = {}
    for name in names:
        values = [record["test"].get(name) for record in records]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values)
        test[name] = (
            {**asdict(mean_interval(known)), "iqm": interquartile_mean(known)} if whole else None
        )
    target = task.target_accuracy
    times = [epochs_to_target(record["points"], target) for record in records] if target else []
    return {
        "label": arm.label,
        "description": arm.description,
        "is_agent": arm.is_agent,
        "runs": len(records),
        "diverged": sum(record["diverged_at_step"] is not None for record in records),
        "test": test,
        "convergence": summarise_convergence(times) if times else None,
        "seconds": sum(record["seconds"] for record in records) / len(records),
        "samples_per_second": sum(r["samples_per_second"] for r in records) / len(records),
    }


def _differences(
    arms: Sequence[Arm],
    records: dict[str, list[Record]],
    names: Sequence[str],
    share: float | None,
) -> list[dict[str, Any]]:
    """Return every agent minus every baseline; p values adjusted within agent and metric."""
    found = []
    for agent in (arm for arm in arms if arm.is_agent):
        for name in names:
            rows = [
                _difference(agent, baseline, name, records, share)
                for baseline in arms
                if not baseline.is_agent
            ]
            known = [row for row in rows if row["p_value"] is not None]
            for row, value in zip(known, holm([r["p_value"] for r in known]), strict=True):
                row["p_holm"] = value
            found += rows
    return found


def _difference(
    agent: Arm, baseline: Arm, name: str, records: dict[str, list[Record]], share: float | None
) -> dict[str, Any]:
    own, other = (
        [record["test"].get(name) for record in records[arm.name]] for arm in (agent, baseline)
    )
    row: dict[str, Any] = {"agent": agent.name, "baseline": baseline.name, "metric": name}
    if None in own or None in other:
        # A run whose test loss is not finite has no difference; the table of arms counts it.
        return {**row, "interval": None, "p_value": None, "p_holm": None, "verdict": "not finite"}
    higher = name not in LOWER_IS_BETTER
    difference = paired_difference(own, other, higher_is_better=higher, test_share=share)
    return {
        **row,
        "interval": asdict(difference.interval),
        "p_value": difference.p_value,
        "p_holm": None,
        "probability_of_improvement": difference.probability_of_improvement,
        "verdict": verdict(difference, higher),
    }


def _metric_names(records: dict[str, list[Record]]) -> list[str]:
    names = {name for own in records.values() for record in own for name in record["test"]}
    first = [name for name in ("accuracy", "loss") if name in names]
    return first + sorted(names - set(first))
