"""The grid of runs: spawned processes of one thread each, whose results are handed on at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.training import RunSpec, run
from lr_env.errors import LrEnvError

Save = Callable[[RunSpec, dict[str, Any]], None]


class RunFailedError(LrEnvError):
    """A run, or the process that it ran in, ended in a way that nobody foresaw."""


def run_all(specs: Sequence[RunSpec], save: Save, workers: int | None, console: Console) -> None:
    """Run every spec and hand each record to `save` as soon as it is there.

    Raises:
        LrEnvError: a run's own error, or that a worker process died. Whatever was finished by
            then has been saved; runs that were under way are given up.
    """
    if not specs:
        return
    count = min(workers or os.cpu_count() or 1, len(specs))
    context = multiprocessing.get_context("spawn")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    others = set(multiprocessing.active_children())
    with (
        Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as progress,
        ProcessPoolExecutor(count, mp_context=context, initializer=_prepare) as pool,
    ):
        bar = progress.add_task("runs", total=len(specs))
        try:
            with _deaf_children():
                pending = {pool.submit(guarded_run, spec): spec for spec in specs}
            while pending:
                done = wait(pending, return_when=FIRST_COMPLETED).done
                # Finished runs are saved before the failure of another is passed on.
                for future in sorted(done, key=_failed):
                    save(pending.pop(future), future.result())
                    progress.advance(bar)
        except BrokenProcessPool as error:
            raise RunFailedError(
                "A worker process died (out of memory?): finished runs are kept; run the same "
                "command again, with fewer --workers."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise


def guarded_run(spec: RunSpec) -> dict[str, Any]:
    """Run `spec`; an exception that is none of ours becomes one sentence that names its place."""
    try:
        return run(spec)
    except LrEnvError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise RunFailedError(
            f"Arm {spec.arm.name} failed with seed {spec.seed} ({what}, at "
            f"{os.path.basename(place.filename)}:{place.lineno}): finished runs are kept; mend "
            "the cause and run the same command again."
        ) from error


def _failed(future: Future[dict[str, Any]]) -> bool:
    return future.exception() is not None


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Let processes started meanwhile ignore Ctrl-C, which the terminal sends to them as well."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _prepare() -> None:
    """Prepare a worker: one thread, and no life without its parent."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
