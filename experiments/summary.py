"""From records to the summary: everything that tables, pictures and reports say."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from experiments.arms import Arm
from experiments.convergence import (
    compare_convergence,
    epochs_to_target,
    summarise_convergence,
)
from experiments.records import Record
from experiments.statistics import (
    FEWEST_FOR_IQM,
    Interval,
    holm,
    iqm_interval,
    mean_interval,
    paired_difference,
    verdict,
)
from lr_env.tasks import Task

LOWER_IS_BETTER = ("loss",)
EQUAL_WITHIN = 0.01
"""Accuracy and its like are equal where the interval stays within a point: see protocol.md."""
AT_CHANCE = "at chance"
"""The verdict on an agent and a baseline that is no better than a constant guess: being ahead of it
says nothing."""


def summarise(arms: Sequence[Arm], records: dict[str, list[Record]], task: Task) -> dict[str, Any]:
    """Return the summary of all arms; `records` by arm name, in the order of seeds."""
    names = _metric_names(records)
    share = task.size("test") / task.size("train") if task.overlapping_splits else None
    target = task.target_accuracy
    times = {
        name: [epochs_to_target(record["points"], target) for record in own] if target else []
        for name, own in records.items()
    }
    same = _same_runs(arms, records)
    guess = task.guess_accuracy("test")
    lost = {arm.name for arm in arms if is_at_chance(records[arm.name], guess)}
    return {
        "metrics": names,
        "lower_is_better": [name for name in names if name in LOWER_IS_BETTER],
        "target_accuracy": target,
        "guess_accuracy": guess,
        "arms": {
            arm.name: {
                **_arm(arm, records[arm.name], names, times[arm.name]),
                "same_as": same.get(arm.name),
                "at_chance": arm.name in lost,
            }
            for arm in arms
        },
        "differences": _differences(arms, records, names, share, lost),
        "convergence": _convergence(arms, times, share) if target else [],
        "corrected_for_overlap": share is not None,
    }


def is_at_chance(records: Sequence[Record], guess: float | None) -> bool:
    """Return whether the mean test accuracy is within a point of a constant guess', or below."""
    values = [record["test"].get("accuracy") for record in records]
    known = [float(value) for value in values if value is not None]
    if guess is None or len(known) < len(values):
        return False
    return sum(known) / len(known) <= guess + EQUAL_WITHIN


def _arm(
    arm: Arm, records: Sequence[Record], names: Sequence[str], times: Sequence[float | None]
) -> dict[str, Any]:
    test = {}
    for name in names:
        values = [record["test"].get(name) for record in records]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values)
        test[name] = (
            {**asdict(mean_interval(known)), "iqm": _iqm(iqm_interval(known), known)}
            if whole
            else None
        )
    return {
        "label": arm.label,
        "description": arm.description,
        "is_agent": arm.is_agent,
        "method": arm.method_name,
        "optimizer": arm.method.optimizer,
        "lr": arm.lr,
        "tuned": arm.tuned,
        "runs": len(records),
        "diverged": sum(record["diverged_at_step"] is not None for record in records),
        "test": test,
        "convergence": summarise_convergence(times) if times else None,
        "seconds": _mean(records, "seconds"),
        "controller_seconds": _mean(records, "controller_seconds"),
        "samples_per_second": _mean(records, "samples_per_second"),
        "trainer": _trainer(records),
    }


def _iqm(interval: Interval, values: Sequence[float]) -> dict[str, float] | None:
    return asdict(interval) if len(values) >= FEWEST_FOR_IQM else None


def _mean(records: Sequence[Record], name: str) -> float:
    return sum(float(record[name]) for record in records) / len(records)


def _trainer(records: Sequence[Record]) -> dict[str, float] | None:
    """Return the means of what the Trainer itself reported, where it was the one to train."""
    own = [record["trainer"] for record in records if record.get("trainer")]
    if not own or any(value is None for figures in own for value in figures.values()):
        return None
    return {name: sum(figures[name] for figures in own) / len(own) for name in own[0]}


def _convergence(
    arms: Sequence[Arm], times: dict[str, list[float | None]], share: float | None
) -> list[dict[str, Any]]:
    """Return how every agent's times to the target compare with every baseline's."""
    twins = _twins(rivals(arms))
    found: list[dict[str, Any]] = []
    for agent in (arm for arm in arms if arm.is_agent):
        rows = {
            baseline.name: {
                "agent": agent.name,
                "baseline": baseline.name,
                "same_as": twins.get(baseline.name),
                **compare_convergence(times[agent.name], times[baseline.name], share),
            }
            for baseline in rivals(arms)
        }
        _adjust(rows, twins)
        found += rows.values()
    return found


def _adjust(rows: dict[str, dict[str, Any]], twins: dict[str, str]) -> None:
    """Give rows, by baseline, p values adjusted for their number; twins share one."""
    known = [row for own, row in rows.items() if row["p_value"] is not None and own not in twins]
    for row, value in zip(known, holm([row["p_value"] for row in known]), strict=True):
        row["p_holm"] = value
    for own, row in rows.items():
        row["p_holm"] = rows[twins.get(own, own)].get("p_holm")


def rivals(arms: Sequence[Arm]) -> list[Arm]:
    """Return the baselines that agents are compared with.

    Where a method's own base rate is among the arms, its other rates are there to show what a
    bad one does: to be better than those is no feat.
    """
    own = {arm.method_name for arm in arms if not arm.tuned and arm.has_own_rate}
    return [
        arm
        for arm in arms
        if not arm.is_agent and (arm.tuned or arm.has_own_rate or arm.method_name not in own)
    ]


def _twins(arms: Sequence[Arm]) -> dict[str, str]:
    """Return, for arms with the same runs as one before them, that one: a tuned arm's own rate."""
    first: dict[Arm, str] = {}
    for arm in arms:
        first.setdefault(arm.settled, arm.name)
    return {arm.name: first[arm.settled] for arm in arms if first[arm.settled] != arm.name}


def _same_runs(arms: Sequence[Arm], records: dict[str, list[Record]]) -> dict[str, str]:
    """Return, for arms all of whose runs are another's, that one."""
    twins = _twins(arms).items()
    return {own: first for own, first in twins if len(records[own]) <= len(records[first])}


def _differences(
    arms: Sequence[Arm],
    records: dict[str, list[Record]],
    names: Sequence[str],
    share: float | None,
    lost: Container[str],
) -> list[dict[str, Any]]:
    """Return every agent minus every baseline; p values adjusted within agent and metric.

    A tuned arm that came to another's rate has the same runs: it is adjusted with the other, and
    `same_as` names it. `lost`: arms at chance.
    """
    baselines = rivals(arms)
    twins = _twins(baselines)
    found: list[dict[str, Any]] = []
    for agent in (arm for arm in arms if arm.is_agent):
        for name in names:
            rows = {arm.name: _difference(agent, arm, name, records, share) for arm in baselines}
            _adjust(rows, twins)
            for own, row in rows.items():
                row["same_as"] = twins.get(own)
                if own in lost and says_nothing(row, agent.name in lost):
                    row["verdict"] = AT_CHANCE
            found += rows.values()
    return found


def says_nothing(row: Mapping[str, Any], own_at_chance: bool) -> bool:
    """Return whether a difference to a constant guess says nothing.

    Being ahead of it does, and, of an agent that is no such guess itself, whatever recall and its
    like come to.
    """
    minor = row["metric"] not in ("accuracy", "loss")
    return row["verdict"] == "better" or (minor and not own_at_chance)


def _difference(
    agent: Arm, baseline: Arm, name: str, records: dict[str, list[Record]], share: float | None
) -> dict[str, Any]:
    # Seeds count from 0 in every arm: those of both are the first ones.
    pairs = list(zip(records[agent.name], records[baseline.name], strict=False))
    own, other = ([pair[side]["test"].get(name) for pair in pairs] for side in (0, 1))
    row: dict[str, Any] = {
        "agent": agent.name, "baseline": baseline.name, "metric": name, "pairs": len(pairs),
    }  # fmt: skip
    if None in own or None in other:
        # A run whose test loss is not finite has no difference; the table of arms counts it.
        return {**row, "interval": None, "p_value": None, "p_holm": None, "verdict": "not finite"}
    higher = name not in LOWER_IS_BETTER
    difference = paired_difference(own, other, higher_is_better=higher, test_share=share)
    return {
        **row,
        "interval": asdict(difference.interval),
        "bootstrap": asdict(difference.bootstrap),
        "iqm": _iqm(difference.iqm, own),
        "p_value": difference.p_value,
        "p_holm": None,
        "probability_of_improvement": difference.probability_of_improvement,
        "verdict": verdict(difference, higher, EQUAL_WITHIN if higher else None),
    }


def _metric_names(records: dict[str, list[Record]]) -> list[str]:
    names = {name for own in records.values() for record in own for name in record["test"]}
    first = [name for name in ("accuracy", "loss") if name in names]
    return first + sorted(names - set(first))
