"""A policy beside its rivals, on trainings that picked nothing."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from agents.held_out import HeldOut
from agents.run_folder import RunFolder
from lr_env.policy import FrozenPolicy
from lr_env.scoring import Comparison

RIVALS = {
    "start": "zero actions (the policy's own start and schedule)",
    "schedule": "the base schedule alone",
    "random": "random actions",
}
"""What the policy is set beside when it is done, and what the table calls it."""


def report(
    policy: FrozenPolicy, folder: RunFolder, held_out: HeldOut, console: Console
) -> FrozenPolicy:
    """Return a run's best policy with what it came to on its card, saved and printed."""
    result = held_out.report(policy, console)
    card: dict[str, Any] = {**policy.card, "held_out": result.to_dict()}
    policy = FrozenPolicy(policy.weights(), card)
    policy.save(folder.best)
    console.print(_table(result))
    return policy


def _table(result: Comparison) -> Table:
    table = Table(
        title=f"Final -log(validation loss / start) on {result.trainings} held-out trainings"
    )
    for column in ("", "mean", "policy minus it, 95 % interval"):
        table.add_column(column)
    table.add_row("policy", f"{result.policy:.3f}", "")
    for rival, name in RIVALS.items():
        gap, half = result.over[rival]
        interval = f"{gap:+.3f} [{gap - half:+.3f}, {gap + half:+.3f}]"
        table.add_row(name, f"{result.rivals[rival]:.3f}", interval)
    return table
