"""A stack whose lanes are divided among processes, one core each."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pickle import PicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lr_env.errors import InvalidArgumentError, LrEnvError, WorkerError
from lr_env.stack.settings import StackSettings
from lr_env.stack.stack import Figures, Outcome, Stack, TaskFactory

Arrays = dict[str, NDArray[Any]]


class SplitStack:
    """Takes `Stack`'s calls and hands every process its share of the lanes.

    Lanes are the same trainings as in one `Stack`: each has its own seeds and generators. The
    task has to be picklable, since processes are spawned.

    Args:
        task, num, settings: as for `Stack`.
        workers: number of processes.

    Raises:
        LrEnvError: one of `Stack`'s, or a process died.
    """

    def __init__(self, task: TaskFactory, num: int, settings: StackSettings, workers: int) -> None:
        if not 1 <= workers <= num:
            raise InvalidArgumentError(
                f"workers must be from 1 to the number of trainings ({num}), not {workers}."
            )
        bounds = [round(num * part / workers) for part in range(workers + 1)]
        self._shares = [slice(*bounds[worker : worker + 2]) for worker in range(workers)]
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        try:
            for share in self._shares:
                self._start(task, share, settings)
            self._figures, _ = self._gather()
        except BaseException:
            self.close()
            raise

    @property
    def figures(self) -> Figures:
        """What the processes told last."""
        return self._figures

    def begin(self, mask: Tensor, seeds: Sequence[int | None] | None = None) -> Tensor:
        """See `Stack.begin`."""
        self._send([
            ("begin", mask[share].numpy(), None if seeds is None else seeds[share])
            for share in self._shares
        ])  # fmt: skip
        self._figures, _ = self._gather()
        return self._figures.observation

    def advance(self, action: Tensor, active: Tensor | None = None) -> Outcome:
        """See `Stack.advance`."""
        self._send([
            ("advance", action[share].numpy(), None if active is None else active[share].numpy())
            for share in self._shares
        ])  # fmt: skip
        self._figures, outcome = self._gather()
        return Outcome(**outcome)

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()

    def _start(self, task: TaskFactory, share: slice, settings: StackSettings) -> None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        self._connections.append(here)
        rates = settings.lane_rates and settings.lane_rates[share]
        own = replace(settings, lane_rates=rates)
        arguments = (there, task, share.stop - share.start, own)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        try:
            process.start()
        except (PicklingError, AttributeError, TypeError) as error:
            raise InvalidArgumentError(
                f"With workers, task and settings go to other processes, and these cannot ({error})"
                ": make what they name importable, without lambdas and nested functions."
            ) from error
        finally:
            there.close()
        self._processes.append(process)

    def _gather(self) -> tuple[Figures, dict[str, Tensor]]:
        """Take in all answers, put together in the order of lanes; the first error is raised."""
        answers = [self._receive(connection) for connection in self._connections]
        for answer in answers:
            if isinstance(answer, LrEnvError):
                raise answer
        figures, outcomes = zip(*answers, strict=True)
        return Figures(**_concatenated(figures)), _concatenated(outcomes)

    def _send(self, messages: Sequence[Any]) -> None:
        for message, connection in zip(messages, self._connections, strict=True):
            try:
                connection.send(message)
            except OSError as error:
                raise _died() from error

    def _receive(self, connection: Connection) -> Any:
        try:
            return connection.recv()
        except (EOFError, OSError) as error:
            raise _died() from error


def _died() -> WorkerError:
    return WorkerError(
        "A process of the vector environment died (out of memory?): use fewer trainings or workers."
    )


def _serve(connection: Connection, task: TaskFactory, num: int, settings: StackSettings) -> None:
    """Answer for one share of the lanes until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        stack = Stack(task, num, settings)
        connection.send((_arrays(stack.figures), {}))
        while True:
            word, array, other = connection.recv()
            try:
                connection.send(_answer(stack, word, torch.from_numpy(array), other))
            except LrEnvError as error:
                connection.send(error)
    except LrEnvError as error:
        connection.send(error)
    except (EOFError, ConnectionError):
        # Not OSError, which a task that reads files raises, and which has to be seen.
        return


def _answer(stack: Stack, word: str, tensor: Tensor, other: Any) -> tuple[Arrays, Arrays]:
    if word == "begin":
        stack.begin(tensor, other)
        return _arrays(stack.figures), {}
    outcome = stack.advance(tensor, None if other is None else torch.from_numpy(other))
    return _arrays(stack.figures), _arrays(outcome)


def _arrays(tensors: Figures | Outcome) -> Arrays:
    return {name: tensor.numpy() for name, tensor in vars(tensors).items()}


def _concatenated(parts: Sequence[Arrays]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]
    }
