"""Jobs as Ray tasks: on a local cluster of our own, or on the one that RAY_ADDRESS names."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from experiments.engines.base import AnyJob, Job, Save, Show, Work
from experiments.engines.work import JobFailedError, guarded
from experiments.records import Record
from lr_env.errors import LrEnvError

GPU_SHARE = 0.25
"""Small trainings leave most of a GPU idle."""
ATTEMPTS = 3
"""Times that a job is begun anew after its worker died."""
KNOCK_SECONDS = 5.0
LOOK_EVERY = 0.5
"""Seconds between two looks at how far the jobs are, and between two reports of a job."""


class RayError(LrEnvError):
    """A Ray that is not installed, or cannot be started or reached."""


class Board:
    """An actor's state: the share done of every job."""

    def __init__(self, size: int) -> None:
        self._shares = [0.0] * size

    def write(self, index: int, share: float) -> None:
        """Note how far a job is."""
        self._shares[index] = share

    def read(self) -> list[float]:
        """Return the share done of every job."""
        return self._shares


class RayEngine:
    """One Ray task for each job, with one CPU, and a share of a GPU where the cluster has any.

    The driver, not the workers, writes the records, so that workers need no common disk.
    """

    def __init__(self, ray: Any, device: str | None = None) -> None:
        self._ray = ray
        found = "cuda" if ray.cluster_resources().get("GPU", 0) > 0 else "cpu"
        self.device = device or found

    def run_all(
        self, jobs: Sequence[AnyJob], work: Work[AnyJob], save: Save[AnyJob], show: Show
    ) -> None:
        """Do every job; see `Engine`. A job whose worker dies is begun anew."""
        ray = self._ray
        board = ray.remote(num_cpus=0, max_restarts=-1)(Board).remote(len(jobs))
        task = ray.remote(
            num_cpus=1,
            num_gpus=GPU_SHARE if self.device == "cuda" else 0,
            max_retries=ATTEMPTS,
        )(_work)
        pending = {task.remote(work, job, index, board): job for index, job in enumerate(jobs)}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=len(pending), timeout=LOOK_EVERY)
            failure: LrEnvError | None = None
            for reference in done:
                job = pending.pop(reference)
                try:
                    record = ray.get(reference)
                except ray.exceptions.RayError as error:
                    failure = failure or _sentence(error, job)
                    continue
                save(job, record)
            # Finished jobs are saved before the failure of another is passed on.
            if failure is not None:
                raise failure
            # A board that went down with its machine costs the sight of progress, no run.
            with suppress(ray.exceptions.RayError):
                show(ray.get(board.read.remote()))


def _work(work: Work[AnyJob], job: AnyJob, index: int, board: Any) -> Record:
    """Compute one job in a Ray worker."""
    torch.set_num_threads(1)
    last = 0.0

    def report(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > LOOK_EVERY:
            last = time.monotonic()
            board.write.remote(index, share)

    record = guarded(work, job, report)
    board.write.remote(index, 1.0)
    return record


def _sentence(error: Any, job: Job) -> LrEnvError:
    """Return a worker's own error, or what became of the worker in one sentence."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, LrEnvError):
        return cause
    return JobFailedError(
        f"Ray gave up on {job.title} ({type(error).__name__}) after {ATTEMPTS + 1} attempts: what "
        "is finished is kept; see that its workers have memory enough, and run the same command "
        "again."
    )


@contextmanager
def open_ray(workers: int | None, device: str | None = None) -> Iterator[RayEngine]:
    """Join RAY_ADDRESS's cluster, or start one of `workers` CPUs here; leave or stop it at the end.

    Raises:
        RayError: Ray is not installed, or the cluster cannot be reached.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _show_token()
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise RayError(
            f"The engine ray needs the package ray ({error}): install the extra 'ray', or use "
            "--engine local."
        ) from error
    if address:
        _knock(address)
    try:
        ray.init(
            address=address or "local",
            num_cpus=None if address else workers,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=_runtime(elsewhere=bool(address)),
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _unreachable(address, error) from error
    try:
        yield RayEngine(ray, device)
    finally:
        ray.shutdown()


def _show_token() -> None:
    """Have Ray hand over the user's token where there is one, before Ray is imported.

    Clusters of Ray 2.59 and later ask for it, but a driver that joins one sends none unless it is
    told so (https://docs.ray.io/en/latest/ray-security/token-auth.html).
    """
    given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if given or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _knock(address: str) -> None:
    """Raise RayError unless somebody listens at `host:port`; Ray itself tries for minutes."""
    named = re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address)
    if named is None:
        return
    try:
        socket.create_connection((named[1], int(named[2])), timeout=KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str | None, error: Exception) -> RayError:
    where = f"the Ray cluster at {address}" if address else "Ray"
    what = " ".join(str(error).split())[:200]
    return RayError(
        f"Cannot reach or start {where} ({what}): correct RAY_ADDRESS or unset it, give the "
        "cluster's token as RAY_AUTH_TOKEN if it asks for one, or use --engine local."
    )


def _runtime(*, elsewhere: bool) -> dict[str, Any]:
    """Return what workers need: one thread, where data is, and our code if they are elsewhere."""
    passed = {
        name: os.environ[name]
        for name in ("LR_ENV_DATA", "LR_ENV_CACHE", "HF_HUB_OFFLINE", "HF_HOME")
        if name in os.environ
    }
    runtime: dict[str, Any] = {"env_vars": {"OMP_NUM_THREADS": "1", **passed}}
    if elsewhere:
        root = Path(__file__).resolve().parents[2]
        runtime["py_modules"] = [str(root / "lr_env"), str(root / "experiments")]
    return runtime
