"""Processes of our own that answer over pipes, and how their failures reach the caller."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from lr_env.errors import LrEnvError, WorkerError

Answer = Callable[[Any], Any]
"""Maps a message to the answer to it; both have to be picklable."""


class Processes:
    """Spawned processes that each give one answer to every message, in the order of messages.

    Args:
        died: what the user is told where one died: a sentence with the remedy.
    """

    def __init__(self, died: str) -> None:
        self._died = died
        self._context = multiprocessing.get_context("spawn")
        self._connections: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._owed = False

    def __len__(self) -> int:
        return len(self._processes)

    def start(self, build: Callable[..., Answer], *arguments: Any) -> None:
        """Start one more, which answers by what `build(*arguments)` returns there.

        It is built at the first message, whose answer is the error where that fails. What
        cannot be pickled raises pickle's own errors here.
        """
        here, there = self._context.Pipe()
        self._connections.append(here)
        process = self._context.Process(target=serve, args=(there, build, arguments), daemon=True)
        try:
            process.start()
        finally:
            there.close()
        self._processes.append(process)

    def ask(self, messages: Sequence[Any]) -> list[Any]:
        """Send each process its message; return their answers."""
        self.send(messages)
        return self.receive()

    def send(self, messages: Sequence[Any]) -> None:
        """Send each process its message; `receive` has to follow.

        Raises:
            WorkerError: it is closed; or an earlier call was interrupted, whose answers would be
            taken for these.
        """
        if any(connection.closed for connection in self._connections):
            raise WorkerError("This was closed, and its processes have ended: make it anew.")
        if self._owed:
            raise WorkerError(
                "An earlier call was interrupted before its answers were in, and processes may be "
                "apart by now: close this and make it anew."
            )
        self._owed = True
        for message, connection in zip(messages, self._connections, strict=True):
            # Nobody reads: its answer that does not come tells, once the others' are in.
            with contextlib.suppress(OSError):
                connection.send(message)

    def receive(self) -> list[Any]:
        """Return the processes' answers.

        Raises:
            LrEnvError: the first process's that had one, or that died; only after all answers
                are in, since one left in its pipe would be taken for that to the next message.
        """
        answers = [self._receive(connection) for connection in self._connections]
        self._owed = False
        for answer in answers:
            if isinstance(answer, LrEnvError):
                raise answer
        return answers

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()

    def _receive(self, connection: Connection) -> Any:
        try:
            return connection.recv()
        except (EOFError, OSError) as error:
            died = WorkerError(self._died)
            died.__cause__ = error
            return died


def serve(connection: Connection, build: Callable[..., Answer], arguments: Sequence[Any]) -> None:
    """Answer messages, one thread at work, until the other end is closed."""
    # An interrupt is the caller's affair: it closes the pipes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    answer: Answer | None = None
    # Around the pipe alone: what a task raises when it reads files has to be seen.
    while True:
        try:
            message = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer = answer or build(*arguments)
            answered = answer(message)
        except LrEnvError as error:
            answered = error
        except Exception as error:
            # Of somebody's task, say: where it was raised is seen here alone.
            traceback.print_exc()
            what = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
            answered = WorkerError(f"A process failed ({what}): its traceback is above.")
        try:
            connection.send(answered)
        except ConnectionError:
            return
