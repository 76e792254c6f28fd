"""A grid of jobs: those that are missing are computed, all the others are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from experiments.engines import AnyJob, Engine, Save, Work
from experiments.progress import GridProgress
from experiments.records import Record, RecordFile


def run_all(
    jobs: Sequence[AnyJob],
    work: Work[AnyJob],
    save: Save[AnyJob],
    engine: Engine,
    console: Console,
    title: str = "",
    noun: str = "runs",
) -> None:
    """Do every job on `engine`, dearest first, show how far it is, and `save` each record.

    `title` is of the grid, `noun` what its jobs are called.

    Raises:
        LrEnvError: a job failed. Whatever was finished by then has been saved.
    """
    if not jobs:
        return
    ordered = sorted(jobs, key=lambda job: job.cost, reverse=True)
    with GridProgress([job.cost for job in ordered], console, title or noun, noun) as progress:
        engine.run_all(ordered, work, save, progress.show)


def complete(
    jobs: Sequence[AnyJob],
    work: Work[AnyJob],
    file_of: Callable[[AnyJob], RecordFile],
    engine: Engine,
    console: Console,
    title: str,
    noun: str = "runs",
) -> dict[AnyJob, Record]:
    """Return every job's record, made now or found."""
    kept = {job: file_of(job) for job in jobs}
    done = {job: file.load() for job, file in kept.items()}
    missing = [job for job, record in done.items() if record is None]
    console.print(
        f"{title}: {len(kept)} {noun}, {len(kept) - len(missing)} of them done before.",
        highlight=False,
    )

    def save(job: AnyJob, record: Record) -> None:
        kept[job].save(record)
        done[job] = record

    run_all(missing, work, save, engine, console, title, noun)
    return {job: record for job, record in done.items() if record is not None}
