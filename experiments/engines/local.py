"""Jobs in spawned processes of one thread each."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from experiments.devices import device_here
from experiments.engines.base import AnyJob, Save, Show, Work
from experiments.engines.processes import deaf_children, prepare_worker
from experiments.engines.work import JobFailedError, guarded
from experiments.records import Record

JOBS_PER_GPU = 4
"""Small trainings leave most of a GPU idle."""
LOOK_EVERY = 0.5
"""Seconds between two looks at how far the jobs are."""

_shares: Any = None
"""In a worker: the share done of every job, in memory that all processes share."""


class LocalEngine:
    """Processes of this machine, each with one thread, and a GPU in turn where there is one."""

    def __init__(self, workers: int | None = None, device: str | None = None) -> None:
        self.device = device or device_here()
        room = os.cpu_count() or 1
        if self.device == "cuda":
            room = min(room, JOBS_PER_GPU * torch.cuda.device_count())
        self._workers = workers or room

    def run_all(
        self, jobs: Sequence[AnyJob], work: Work[AnyJob], save: Save[AnyJob], show: Show
    ) -> None:
        """Do every job; see `Engine`."""
        context = multiprocessing.get_context("spawn")
        shares = context.RawArray("d", len(jobs))
        numbers = context.Value("i", 0)
        others = set(multiprocessing.active_children())
        with ProcessPoolExecutor(
            min(self._workers, len(jobs)),
            mp_context=context,
            initializer=_prepare,
            initargs=(shares, self.device, numbers),
        ) as pool:
            try:
                with deaf_children():
                    pending = {
                        pool.submit(_work, work, job, index): job for index, job in enumerate(jobs)
                    }
                while pending:
                    done = wait(pending, LOOK_EVERY, return_when=FIRST_COMPLETED).done
                    # Finished jobs are saved before the failure of another is passed on.
                    for future in sorted(done, key=_failed):
                        save(pending.pop(future), future.result())
                    show(list(shares))
            except BrokenProcessPool as error:
                raise JobFailedError(
                    "A worker process died (out of memory?): what is finished is kept; run the "
                    "same command again, with fewer --workers."
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()
                raise


def _work(work: Work[AnyJob], job: AnyJob, index: int) -> Record:
    record = guarded(work, job, lambda share: _shares.__setitem__(index, share))
    _shares[index] = 1.0
    return record


def _failed(future: Future[Record]) -> bool:
    return future.exception() is not None


def _prepare(shares: Any, device: str, numbers: Any) -> None:
    """Prepare a worker: what all workers need, and the next of the GPUs."""
    global _shares
    _shares = shares
    prepare_worker()
    if device == "cuda":
        with numbers.get_lock():
            numbers.value += 1
            torch.cuda.set_device(numbers.value % torch.cuda.device_count())
