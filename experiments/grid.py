"""The grid of runs: spawned processes of one thread each, finished runs skipped."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.training import RunSpec, run
from lr_env.errors import LrEnvError

Save = Callable[[RunSpec, dict[str, Any]], None]


def run_all(specs: Sequence[RunSpec], save: Save, workers: int | None, console: Console) -> None:
    """Run every spec and hand each record to `save` as soon as it is there.

    Raises:
        LrEnvError: a run's own error, or that a worker process died.
    """
    if not specs:
        return
    count = min(workers or os.cpu_count() or 1, len(specs))
    context = multiprocessing.get_context("spawn")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as progress,
        ProcessPoolExecutor(count, mp_context=context, initializer=_quiet) as pool,
    ):
        bar = progress.add_task("runs", total=len(specs))
        pending: dict[Future[dict[str, Any]], RunSpec] = {
            pool.submit(run, spec): spec for spec in specs
        }
        try:
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    save(pending.pop(future), future.result())
                    progress.advance(bar)
        except BrokenProcessPool as error:
            raise LrEnvError(
                "A worker process died (out of memory?): finished runs are kept; run the same "
                "command again, with fewer --workers."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _quiet() -> None:
    """Prepare a worker: one thread, and interruptions are the main process's business."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
