"""From records to figures: references, gaps, controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from experiments.meta_test.cells import FREE, LR_STAR, ON_BASE, TUNED
from experiments.meta_test.statistics import improvement_over_entries, median_over_entries
from experiments.statistics import Array, interquartile_mean, iqm_interval
from lr_env.meta_test import MetaTestEntry

Records = Mapping[str, Mapping[str, Any]]
"""Records by arm; `cosine-tuning` and `linear-tuning` are of the tuning seeds."""
HIGHEST_RATE = 3e-2
"""Bars are for base rates up to this one."""
RELATIVE, ABSOLUTE = 0.05, 0.01
"""Margin of a gap: a share of the reference's loss, and nats; the larger counts."""
JUDGED = ("agent", "agent_validation", "start")
"""Arms set against the tuned reference; zero actions, too: what an agent adds begins there."""
CONTROLS = ("fixed", *FREE, *ON_BASE, *LR_STAR)


def summarise_entry(entry: MetaTestEntry, records: Records) -> dict[str, Any]:
    """Return an entry's figures: losses of all arms, tuned references and the agents' cells."""
    tuned = {name: tune(records, name) for name in TUNED}
    reference = "linear" if entry.role == "finetuning" else "cosine"
    better = min(TUNED, key=lambda name: tuned_loss(records, name))
    return {
        "role": entry.role,
        "optimizer": entry.optimizer,
        "adam_like": entry.adam_like,
        "about": entry.about,
        "reference": reference,
        "tuned": {
            name: {
                "rate": rate,
                "tried": list(records[f"{name}-tuning"]["rates"]),
                "iqm": interquartile_mean(losses(records[name], rate).tolist()),
            }
            for name, rate in tuned.items()
        },
        "arms": {
            name: _arm(record) for name, record in records.items() if not name.endswith("-tuning")
        },
        "cells": {
            name: _cells(records, name, losses(records[reference], tuned[reference]))
            for name in JUDGED
            if name in records
        },
        "better_reference": better,
        "cells_against_better": _cells(records, "agent", losses(records[better], tuned[better])),
    }


def _cells(records: Records, name: str, reference: Array) -> list[dict[str, Any]]:
    """Return an arm's cells from all of its base rates, against the reference's losses `[S]`."""
    own = records[name]
    return [cell(own, rate, reference, records) for rate in own["rates"]]


def tuned_loss(records: Records, name: str) -> float:
    """Return the lowest mean log loss of a schedule on the tuning seeds, over base rates."""
    return float(np.asarray(records[f"{name}-tuning"]["log_loss"], dtype=float).mean(1).min())


def tune(records: Records, name: str) -> float:
    """Return the base rate with the lowest mean log loss on the tuning seeds."""
    record = records[f"{name}-tuning"]
    means = np.asarray(record["log_loss"], dtype=float).mean(1)
    return float(record["rates"][int(means.argmin())])


def cell(
    record: Mapping[str, Any], rate: float, reference: Array, baselines: Records
) -> dict[str, Any]:
    """Return the gap of one arm from one base rate to the reference's losses `[S]`."""
    own = losses(record, rate)
    gap = iqm_interval(own - reference)
    centre = interquartile_mean(reference.tolist())
    margin = max(RELATIVE * centre, ABSOLUTE)
    trains = any(
        not np.any(_row(baselines[name], rate, "diverged"))
        for name in ("fixed", "cosine", "linear")
    )  # fmt: skip
    return {
        "rate": rate,
        "iqm": interquartile_mean(own.tolist()),
        "gap": asdict(gap),
        "percent": {name: 100.0 * value / centre for name, value in asdict(gap).items()},
        "margin": margin,
        "passed": gap.high <= margin,
        "excess": gap.high / margin,
        "diverged": int(np.sum(_row(record, rate, "diverged"))),
        "a_baseline_trains": trains,
    }


def losses(record: Mapping[str, Any], rate: float) -> Array:
    """Return an arm's final losses from one base rate `[S]`."""
    return np.exp(_row(record, rate, "log_loss"))


def compare_controls(records: Mapping[str, Records]) -> dict[str, Any]:
    """Return the agent against every control over entries: log ratios below 0 favour the agent.

    Controls that the policy does not have are left out.
    """
    found = {}
    for control in CONTROLS:
        if not all(control in own for own in records.values()):
            continue
        ratios = {name: log_ratio(own, control) for name, own in records.items()}
        tables = list(ratios.values())
        found[control] = {
            "median": asdict(median_over_entries(tables)),
            "improvement": asdict(improvement_over_entries(tables)),
            "entries": {
                name: interquartile_mean(own.flatten().tolist()) for name, own in ratios.items()
            },
        }
    return found


def log_ratio(records: Records, control: str) -> Array:
    """Return log(agent's loss / control's) `[rates, S]` at the base rates that bars are for.

    A control that does not depend on the base rate stands against the agent from all of them.
    """
    agent, other = records["agent"], records[control]
    free = control in (*FREE, *LR_STAR) and len(other["rates"]) == 1
    rates = [rate for rate in (agent if free else other)["rates"] if rate <= HIGHEST_RATE]
    own = np.stack([_row(agent, rate, "log_loss") for rate in rates])
    rival = [_row(other, other["rates"][0] if free else rate, "log_loss") for rate in rates]
    return own - np.stack(rival)


def _arm(record: Mapping[str, Any]) -> dict[str, Any]:
    table = np.exp(np.asarray(record["log_loss"], dtype=float))
    return {
        "rates": list(record["rates"]),
        "iqm": [interquartile_mean(row.tolist()) for row in table],
        "quartiles": [np.quantile(row, (0.25, 0.75)).tolist() for row in table],
        "diverged": np.sum(record["diverged"], axis=1).tolist(),
        "seconds": record["seconds"],
    }


def _row(record: Mapping[str, Any], rate: float, field: str) -> Array:
    rates: Sequence[float] = record["rates"]
    return np.asarray(record[field][rates.index(rate)], dtype=float)
