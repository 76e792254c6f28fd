"""`python -m experiments.moves`: how far the agent moves rates from its start, task by task.

From the published records, of every seed in which agent and start were both run: the mean over the
layers that move of log2(agent's rate / start's rate), by the share of the training that is over.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from experiments.archive import ARCHIVE, records_in
from experiments.palette import COLOURS
from experiments.plots import png
from experiments.publish import RESULTS
from experiments.published import SUMMARY
from experiments.records import Record
from lr_env import files
from lr_env.command_line import run_command
from lr_env.errors import DataError

GRID = np.linspace(0.0, 1.0, 201)
SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
STILL = 1e-3
"""Octaves below which a layer counts as one that no action moved."""
Moves = NDArray[np.float64]


@dataclass(frozen=True)
class MovesConfig:
    """Draw and tabulate what the agent's actions come to in the published runs."""

    results: Path = RESULTS
    """Folder of published evaluations."""
    out: Path = Path("docs/moves.png")
    """The picture."""


def moves_of(agent: Record, start: Record) -> Moves:
    """Return the mean move of the layers that move, octaves, over `GRID` of a training `[G]`."""
    own, others = (np.asarray(run["learning_rates"]["rates"], float) for run in (agent, start))
    steps = np.asarray(agent["learning_rates"]["steps"], float)
    gaps = np.log2(own / others)
    moving = np.abs(gaps).max(0) > STILL
    if not moving.any():
        return np.zeros_like(GRID)
    place = np.searchsorted(steps, GRID * steps[-1], side="right") - 1
    return np.asarray(gaps[:, moving].mean(1)[place])


def collect(results: Path) -> dict[str, Moves]:
    """Return the moves of every seed `[seeds, G]`, by name of the evaluation.

    Raises:
        DataError: no evaluation there has both arms, or an archive is damaged.
    """
    found = {}
    for summary in sorted(results.glob(f"*/{SUMMARY}")):
        arms = json.loads(summary.read_text(encoding="utf-8"))["arms"]
        if {"agent", "start"} <= set(arms):
            found[summary.parent.name] = _of(records_in(summary.parent / ARCHIVE))
    found = {name: own for name, own in found.items() if len(own)}
    if not found:
        raise DataError(f"No evaluation in {results} has both agent and start: publish one first.")
    return found


def table(moves: Mapping[str, Moves]) -> str:
    """Return as Markdown: mean over seeds at `SHARES`, and the standard deviation of seeds."""
    places = [int(np.argmin(np.abs(GRID - share))) for share in SHARES]
    lines = [
        "| octaves | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |",
        "|---" * (len(SHARES) + 1) + "|",
    ]
    for name, own in moves.items():
        cells = [f"{own[:, at].mean():+.2f} ({own[:, at].std(ddof=1):.2f})" for at in places]
        lines.append(f"| {name}, {len(own)} seeds | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(config: MovesConfig) -> None:
    """Write the picture, and print the table."""
    moves = collect(config.results)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panel = figure.subplots()
    for (name, own), colour in zip(moves.items(), itertools.cycle(COLOURS), strict=False):
        panel.plot(GRID, own.mean(0), color=colour, label=f"{name} ({len(own)} seeds)")
        panel.fill_between(GRID, own.min(0), own.max(0), color=colour, alpha=0.2, lw=0)
    panel.axhline(0.0, color="#8C8C8C", lw=1)
    panel.set(xlabel="share of the training", ylabel="octaves above the start's rates")
    panel.set_title("what the agent does: mean of the layers that move, and the range of seeds")
    panel.grid(alpha=0.25)
    figure.legend(fontsize=8, loc="outside lower center", ncols=len(moves), frameon=False)
    files.write_bytes(config.out, png(figure))
    Console().print(table(moves), markup=False, highlight=False, soft_wrap=True)


def _of(records: Mapping[str, Record]) -> Moves:
    pairs = [
        (records[agent], start)
        for name, start in records.items()
        if name.startswith("records/start-seed")
        and (agent := name.replace("start-", "agent-")) in records
    ]
    return np.array([moves_of(agent, start) for agent, start in pairs])


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(MovesConfig, draw, "python -m experiments.moves", "nothing was changed.")


if __name__ == "__main__":
    raise SystemExit(main())
