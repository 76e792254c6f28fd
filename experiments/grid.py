"""The grid of runs: those that are missing are computed, all the others are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from experiments.engines import Engine, Save
from experiments.progress import GridProgress
from experiments.records import Records
from experiments.runs import RunSpec


def run_all(
    specs: Sequence[RunSpec], save: Save, engine: Engine, console: Console, title: str = "runs"
) -> None:
    """Run every spec on `engine`, show how far it is, and `save` each record as it comes.

    Raises:
        LrEnvError: a run failed. Whatever was finished by then has been saved.
    """
    if not specs:
        return
    with GridProgress(len(specs), console, title) as progress:
        engine.run_all(specs, save, progress.show)


def complete(
    specs: Sequence[RunSpec],
    records: Records,
    fingerprint: Callable[[RunSpec], str],
    engine: Engine,
    console: Console,
    title: str,
) -> dict[RunSpec, dict[str, Any]]:
    """Return every spec's record, run now or found."""
    prints = {spec: fingerprint(spec) for spec in specs}
    done = {spec: records.load(spec, own) for spec, own in prints.items()}
    missing = [spec for spec, record in done.items() if record is None]
    console.print(
        f"{title}: {len(prints)} runs, {len(prints) - len(missing)} of them done before.",
        highlight=False,
    )

    def save(spec: RunSpec, record: dict[str, Any]) -> None:
        records.save(spec, prints[spec], record)
        done[spec] = record

    run_all(missing, save, engine, console, title)
    return {spec: record for spec, record in done.items() if record is not None}
