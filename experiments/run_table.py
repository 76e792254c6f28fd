"""`runs.csv`: a row for every run, for those who would rather do the statistics themselves."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.convergence import epochs_to_target
from experiments.records import Record


def run_table(summary: dict[str, Any], records: dict[str, list[Record]]) -> str:
    """Return the runs of all arms as CSV, by arm and then seed; what there is not is empty.

    Times are in seconds, `epochs_to_target` is the first of the 20 readings at the target.
    """
    rows = [
        {"arm": name, "lr": summary["arms"][name]["lr"], **_row(record, summary["target_accuracy"])}
        for name, own in records.items()
        for record in own
    ]
    return str(pd.DataFrame(rows).to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def _row(record: Record, target: float | None) -> dict[str, Any]:
    last = record["points"][-1] if record["points"] else {}
    step = record["diverged_at_step"]
    return {
        "seed": record["seed"],
        **{f"test_{name}": value for name, value in record["test"].items()},
        "validation_accuracy": last.get("accuracy"),
        "validation_loss": last.get("loss"),
        "epochs_to_target": epochs_to_target(record["points"], target) if target else None,
        "diverged_at_step": "" if step is None else str(step),
        "seconds": record["seconds"],
        "controller_seconds": record["controller_seconds"],
    }
