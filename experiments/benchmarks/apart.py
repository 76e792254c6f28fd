"""A subject in a process of its own: neither its time nor its memory is mixed with another's."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.environments import Ready
from experiments.benchmarks.measure import SECONDS, rate
from experiments.benchmarks.products import Products
from experiments.benchmarks.subjects import Kind
from lr_env.errors import WorkerError

# A forked process has the memory of the one that it comes from: a server that has only imported.
_CONTEXT: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
# torch's optimizers import its compiler, for seconds, the first time that one is made.
_IMPORTED = ("lr_env.vector_env", "torch._dynamo")


class Apart:
    """Opens a subject in a new process, and has it measured there while all others wait.

    Args:
        kind, architecture: of the subject.
        cache: folder for what is compiled.

    Attributes:
        ready: how it came to be.

    Raises:
        WorkerError: it cannot be opened, or its process died.
    """

    def __init__(self, kind: Kind, architecture: str, cache: Path) -> None:
        self._name = kind.name
        _CONTEXT.set_forkserver_preload([__name__, *_IMPORTED])
        self._connection, there = _CONTEXT.Pipe()
        # No daemon: it may have processes of its own.
        given = (there, kind, architecture, cache, multiprocessing.get_start_method())
        self._process = _CONTEXT.Process(target=_serve, args=given)
        self._process.start()
        there.close()
        try:
            self.ready: Ready = self._receive()
        except BaseException:
            self.close()
            raise

    def rate(self, seconds: float = SECONDS) -> float:
        """Return its inner steps a second, over so many seconds."""
        self._connection.send(seconds)
        return float(self._receive())

    def products(self) -> Products:
        """Return the matrix products of its decisions; its trainings begin anew for them."""
        self._connection.send("products")
        found: Products = self._receive()
        return found

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerError(
                f"The process of {self._name} died (out of memory?): leave that size out."
            ) from error
        if isinstance(answer, WorkerError):
            raise answer
        return answer


def _serve(connection: Connection, kind: Kind, architecture: str, cache: Path, method: str) -> None:
    """Open a subject, one thread at work, and answer until the other end is closed."""
    # Its own processes are to start as they do elsewhere.
    multiprocessing.set_start_method(method, force=True)
    # An interrupt is the other end's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    torch.set_num_threads(1)
    try:
        with kind.open(architecture) as subject:
            connection.send(subject.ready)
            while True:
                asked = connection.recv()
                found = subject.products() if asked == "products" else rate(subject.run, asked)
                connection.send(found)
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        # Whatever it is, the other end says it: a GPU's driver raises dozens of types.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        connection.send(WorkerError(f"{kind.name} cannot be timed ({reason[:200]})."))
