"""Jobs of any kind in spawned processes of one thread each, with the time left."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from experiments.engines import RunFailedError
from experiments.engines.processes import deaf_children, prepare_worker

Job = TypeVar("Job")


def run_jobs(
    jobs: Sequence[Job],
    work: Callable[[Job], Any],
    save: Callable[[Job, Any], None],
    *,
    workers: int | None,
    console: Console,
    cost: Callable[[Job], float] = lambda job: 1.0,
) -> None:
    """Do every job, dearest first, and hand each result to `save` as soon as it is there.

    `work` is a function of a module, since it is sent to other processes by its name; `cost` is
    a job's share of the whole time.

    Raises:
        LrEnvError: a job's own error, or that a process died. What was finished by then has been
            saved; jobs that were under way are given up.
    """
    if not jobs:
        return
    ordered = sorted(jobs, key=cost, reverse=True)
    count = min(workers or os.cpu_count() or 1, len(jobs))
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    # Jobs take minutes: an estimate of the speed from the last seconds alone would jump.
    with (
        Progress(
            *columns, TextColumn("left"), TimeRemainingColumn(), console=console,
            speed_estimate_period=3600.0,
        ) as progress,
        ProcessPoolExecutor(count, mp_context=context, initializer=prepare_worker) as pool,
    ):  # fmt: skip
        bar = progress.add_task(f"{len(jobs)} jobs", total=sum(map(cost, jobs)))
        try:
            with deaf_children():
                pending = {pool.submit(work, job): job for job in ordered}
            while pending:
                done = wait(pending, return_when=FIRST_COMPLETED).done
                # Finished jobs are saved before the failure of another is passed on.
                for future in sorted(done, key=_failed):
                    job = pending.pop(future)
                    save(job, future.result())
                    progress.update(bar, advance=cost(job), description=f"{len(pending)} jobs")
        except BrokenProcessPool as error:
            raise RunFailedError(
                "A worker process died (out of memory?): finished jobs are kept; run the same "
                "command again, with fewer --workers."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise


def _failed(future: Future[Any]) -> bool:
    return future.exception() is not None
