"""Numbers in plain words: verdicts counted, losses named, intervals written."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from experiments.arms import METHODS

Summary = dict[str, Any]
"""All figures of an evaluation: what `summary.json` holds."""

Arms = dict[str, dict[str, Any]]
"""A summary's arms by name."""

VERDICTS = {
    "better": "better than {}", "worse": "worse than {}", "equal": "equal within a point to {}",
    "undecided": "cannot be told from {}", "not finite": "without a finite difference to {}",
    "at chance": "no contest with {}, at chance",
}  # fmt: skip
MOST_NAMES = 4
"""Baselines that a sentence names one by one."""
MOST_LOSSES = 4
"""Losses in one metric that are told one by one."""


def losses(summary: Summary) -> list[str]:
    """Return where an agent is worse than a baseline, later, costlier, or behind on average."""
    found = []
    again = {row["baseline"] for row in summary["differences"] if row["same_as"]}
    arms = {name: arm for name, arm in summary["arms"].items() if name not in again}
    others = [arm for arm in arms.values() if not arm["is_agent"]]
    for name, rows in _by_agent(summary).items():
        agent = summary["arms"][name]
        found += _worse(agent, rows, summary)
        if agent["diverged"]:
            found.append(
                f"{agent['label']} diverged in {agent['diverged']} of {agent['runs']} runs."
            )
        found += _later(agent, others)
        found += _behind(agent, rows, summary)
        found += _cost(agent, others)
    return found


def distinct(arms: Arms) -> Arms:
    """Return the arms without those whose runs are another's: tuned arms at their usual rate."""
    return {name: arm for name, arm in arms.items() if arm["same_as"] is None}


def count_verdicts(rows: list[dict[str, Any]], arms: Arms | None = None) -> str:
    """Return `better than 2 of 4 baselines (1 after Holm's correction), ...`.

    With `arms` a few baselines are named: `worse than 2 of 4 baselines (Adam, fixed; Prodigy)`.
    """
    parts = []
    for verdict, words in VERDICTS.items():
        own = [row for row in rows if row["verdict"] == verdict]
        if own:
            held = sum(row["p_holm"] < 0.05 for row in own) if verdict == "better" else len(own)
            # What is lost stands as it is: a correction for many comparisons guards claims.
            sure = held == len(own)
            kept = "" if sure else f" ({held or 'none'} after Holm's correction)"
            parts.append(words.format(_baselines(own, rows, arms)) + kept)
    return ", ".join(parts)


def is_control(arm: str) -> bool:
    """Return whether the arm of that name is a control, of an agent's start and schedule."""
    return METHODS[arm.partition("@")[0]].is_control


def _baselines(rows: list[dict[str, Any]], every: list[dict[str, Any]], arms: Arms | None) -> str:
    all_of = len(every)
    what = (
        "baselines and controls"
        if any(is_control(row["baseline"]) for row in every)
        else "baselines"
    )
    labels = [arms[row["baseline"]]["label"] for row in rows] if arms else []
    if labels and all_of == 1:
        return str(labels[0])
    named = f" ({'; '.join(labels)})" if 0 < len(labels) <= MOST_NAMES else ""
    return f"{len(rows)} of {all_of} {what}{named}"


def format_seeds(summary: Summary) -> str:
    """Return how many paired seeds there are, from the fewest of an arm to the most."""
    fewest = min(arm["runs"] for arm in summary["arms"].values())
    most = max(arm["runs"] for arm in summary["arms"].values())
    return f"{fewest} paired seeds" if fewest == most else f"{fewest} to {most} paired seeds"


def format_interval(interval: dict[str, float] | None) -> str:
    """Return a mean with its interval, or that there is none."""
    if interval is None:
        return "not finite"
    mean, low, high = (f"{interval[part]:.4f}" for part in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def format_difference(row: dict[str, Any]) -> str:
    """Return a signed mean difference with its interval."""
    interval = row["interval"]
    return f"{interval['mean']:+.4f} [{interval['low']:+.4f}, {interval['high']:+.4f}]"


def format_p(value: float) -> str:
    """Return a p value to two digits; how small a very small one is says nothing."""
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def format_convergence(convergence: dict[str, Any] | None) -> str:
    """Return the median time to the target, and how many runs never got there."""
    if convergence is None:
        return "no target"
    missed = convergence["runs"] - convergence["reached"]
    if convergence["median_epochs"] is None:
        return f"{missed} of {convergence['runs']} never"
    median = f"{convergence['median_epochs']:.1f}"
    return f"{median} ({missed} of {convergence['runs']} never)" if missed else median


def join(names: Sequence[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _by_agent(summary: Summary) -> dict[str, list[dict[str, Any]]]:
    rows = [row for row in summary["differences"] if not row["same_as"]]
    agents = dict.fromkeys(
        row["agent"] for row in rows if summary["arms"][row["agent"]]["same_as"] is None
    )
    return {agent: [row for row in rows if row["agent"] == agent] for agent in agents}


def _worse(agent: dict[str, Any], rows: list[dict[str, Any]], summary: Summary) -> list[str]:
    """Return a sentence for each loss; one for all of a metric where there are many."""
    found = []
    for metric in summary["metrics"]:
        own = [row for row in rows if (row["metric"], row["verdict"]) == (metric, "worse")]
        if len(own) > MOST_LOSSES:
            found.append(_worse_than_many(agent, own, summary))
            continue
        found += [
            f"{agent['label']} is worse than {summary['arms'][row['baseline']]['label']} in test "
            f"{metric}: {format_difference(row)}, p {format_p(row['p_value'])}."
            for row in own
        ]
    return found


def _worse_than_many(agent: dict[str, Any], rows: list[dict[str, Any]], summary: Summary) -> str:
    by_size = sorted(rows, key=lambda row: abs(row["interval"]["mean"]))
    labels = [summary["arms"][row["baseline"]]["label"] for row in rows]
    return (
        f"{agent['label']} is worse than {len(rows)} baselines in test {rows[0]['metric']}, from "
        f"{format_difference(by_size[0])} to {format_difference(by_size[-1])}: "
        f"{'; '.join(labels)}."
    )


def _behind(agent: dict[str, Any], rows: list[dict[str, Any]], summary: Summary) -> list[str]:
    """Return one sentence on the differences that point the wrong way, but within the noise."""
    parts = []
    for name in summary["metrics"]:
        own = [row for row in rows if row["metric"] == name and row["interval"]]
        behind = [
            row
            for row in own
            if row["verdict"] in ("undecided", "equal") and _points_wrong(row, summary)
        ]
        if behind:
            most = max(abs(row["interval"]["mean"]) for row in behind)
            always = sum(row["probability_of_improvement"] == 0.0 for row in behind)
            in_all = f", in every single seed against {always}" if always else ""
            size = f"by up to {most:.4f}{in_all}"
            parts.append(f"{name} against {len(behind)} of {len(own)} baselines ({size})")
    if not parts:
        return []
    return [f"{agent['label']} is behind on average, though no interval shows it: {join(parts)}."]


def _points_wrong(row: dict[str, Any], summary: Summary) -> bool:
    mean = row["interval"]["mean"]
    return bool(mean > 0 if row["metric"] in summary["lower_is_better"] else mean < 0)


def _later(agent: dict[str, Any], others: Sequence[dict[str, Any]]) -> list[str]:
    """Return whom the agent follows to the target accuracy, and who misses it less often."""
    own = agent["convergence"]
    if own is None:
        return []
    later, missed = [], []
    for other in others:
        rival = other["convergence"]
        if (own["median_epochs"] or math.inf) > (rival["median_epochs"] or math.inf):
            later.append(f"{other['label']} ({rival['median_epochs']:.1f})")
        elif own["reached"] / own["runs"] < rival["reached"] / rival["runs"]:
            missed.append(f"{other['label']} ({rival['runs'] - rival['reached']})")
    found = []
    if later:
        median = own["median_epochs"]
        when = "never in half of the seeds" if median is None else f"median epochs {median:.1f}"
        found.append(
            f"{agent['label']} reaches the target accuracy later ({when}) than {join(later)}."
        )
    if missed:
        found.append(
            f"{agent['label']} never reaches the target accuracy in {own['runs'] - own['reached']} "
            f"of {own['runs']} seeds, more often than {join(missed)}."
        )
    return found


def _cost(agent: dict[str, Any], others: list[dict[str, Any]]) -> list[str]:
    """Return how much longer a sample takes than with the same optimizer alone, at the median."""
    speeds = [
        other["samples_per_second"]
        for other in others
        if other["samples_per_second"] > 0
        and other["optimizer"] == agent["optimizer"]
        and not other["controller_seconds"]
    ]
    own = agent["samples_per_second"]
    usual = statistics.median(speeds) if speeds else 0.0
    if own <= 0 or usual <= own:
        return []
    return [
        f"{agent['label']} takes {usual / own:.1f} times the baselines' training time for "
        f"each sample ({own:,.0f} samples a second), as far as a machine tells that did other "
        "things besides."
    ]
