"""Stacks in worker processes: each core trains its share of the mix."""

from __future__ import annotations

import io
import multiprocessing
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch import Tensor

from agents.curriculum import StackPlan
from lr_env import scoring
from lr_env.errors import LrEnvError, WorkerError
from lr_env.policy import FrozenPolicy
from lr_env.stack import Stack
from lr_env.stack.stack import Outcome

SCORERS = {
    "policy": scoring.score,
    "identity": scoring.score_identity,
    "random": scoring.score_random,
}


class Workers:
    """Stacks spread over processes; every call answers for all of them, in their order.

    Nothing depends on the number of processes: each stack has its own generators.

    Raises:
        LrEnvError: a worker's own error, or that it died.
    """

    def __init__(self, plans: Sequence[StackPlan], count: int) -> None:
        self._shares = share_out([plan.cost for plan in plans], min(count, len(plans)))
        context = multiprocessing.get_context("spawn")
        self._connections: list[Connection] = []
        self._processes: list[BaseProcess] = []
        for share in self._shares:
            here, there = context.Pipe()
            process = context.Process(
                target=_work, args=(there, [plans[index] for index in share]), daemon=True
            )
            process.start()
            there.close()
            self._connections.append(here)
            self._processes.append(process)
        try:
            self.layers: list[int] = self._gather(self._ask("layers"), self._shares)
        except BaseException:
            self.close()
            raise

    def reset(self) -> list[Tensor]:
        """Begin every stack from its plan's seed; return observations `[N, L, F]`."""
        return self._gather(self._ask("reset"), self._shares)

    def step_async(self, actions: Sequence[Tensor]) -> None:
        """Send one decision `[N, L]` of every stack."""
        for share, connection in zip(self._shares, self._connections, strict=True):
            _send(connection, ("step", [actions[index].numpy() for index in share]))

    def step_wait(self) -> list[Outcome]:
        """Return what the decisions led to."""
        return self._gather(self._receive_all(), self._shares)

    def score(
        self, kind: str, policy: FrozenPolicy, suite: Sequence[scoring.Entry], seed: int
    ) -> list[Tensor]:
        """Return final potentials by entry for the policy or a rival (see `SCORERS`)."""
        weights = {name: tensor.numpy() for name, tensor in policy.weights().items()}
        shares = share_out([1.0] * len(suite), len(self._connections))
        for share, connection in zip(shares, self._connections, strict=True):
            entries = [suite[index] for index in share]
            _send(connection, ("score", (kind, weights, policy.card, entries, seed)))
        return self._gather(self._receive_all(), shares)

    def state_dict(self) -> list[dict[str, Any]]:
        """Return every stack's state."""
        return self._gather(self._ask("state"), self._shares)

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from `states`."""
        for share, connection in zip(self._shares, self._connections, strict=True):
            _send(connection, ("load", _pack([states[index] for index in share])))
        self._receive_all()

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()

    def _ask(self, word: str) -> list[Any]:
        for connection in self._connections:
            _send(connection, (word, None))
        return self._receive_all()

    def _receive_all(self) -> list[Any]:
        return [self._receive(worker) for worker in range(len(self._connections))]

    def _receive(self, worker: int) -> Any:
        try:
            answer = self._connections[worker].recv()
        except (EOFError, OSError) as error:
            raise _died() from error
        if isinstance(answer, LrEnvError):
            raise answer
        return _unpack(answer)

    def _gather(self, answers: Sequence[Sequence[Any]], shares: Sequence[list[int]]) -> list[Any]:
        merged: list[Any] = [None] * sum(len(share) for share in shares)
        for share, answer in zip(shares, answers, strict=True):
            for index, value in zip(share, answer, strict=True):
                merged[index] = value
        return merged


def _send(connection: Connection, message: Any) -> None:
    try:
        connection.send(message)
    except OSError as error:
        raise _died() from error


def _died() -> WorkerError:
    return WorkerError(
        "A worker process died (out of memory?): resume the run; if it dies again, begin one with "
        "fewer slots or workers."
    )


def share_out(costs: Sequence[float], count: int) -> list[list[int]]:
    """Return which items each of `count` workers takes: dearest first, to the least laden."""
    shares: list[list[int]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for index in sorted(range(len(costs)), key=lambda item: -costs[item]):
        worker = loads.index(min(loads))
        shares[worker].append(index)
        loads[worker] += costs[index]
    return shares


def _work(connection: Connection, plans: Sequence[StackPlan]) -> None:
    """Serve one process's stacks until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        stacks = [Stack(plan.entry.task, plan.entry.lanes, plan.entry.settings) for plan in plans]
        while True:
            word, payload = connection.recv()
            try:
                answer: Any = _pack(_answer(stacks, plans, word, payload))
            except LrEnvError as error:
                answer = error
            connection.send(answer)
    except LrEnvError as error:
        connection.send(error)
    except (EOFError, ConnectionError):
        # The other end was closed, after an interrupt perhaps while this one was at work.
        return


def _answer(stacks: list[Stack], plans: Sequence[StackPlan], word: str, payload: Any) -> list[Any]:
    if word == "layers":
        return [len(stack.layers) for stack in stacks]
    if word == "reset":
        return [stack.reset(plan.seed) for stack, plan in zip(stacks, plans, strict=True)]
    if word == "step":
        pairs = zip(stacks, payload, strict=True)
        return [vars(stack.step(torch.from_numpy(actions))) for stack, actions in pairs]
    if word == "score":
        kind, weights, card, suite, seed = payload
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        return list(SCORERS[kind](FrozenPolicy(tensors, card), suite, seed))
    if word == "state":
        return [stack.state_dict() for stack in stacks]
    for stack, state in zip(stacks, _unpack(payload), strict=True):
        stack.load_state_dict(state)
    return []


def _pack(value: Any) -> bytes:
    """Tensors as bytes: torch's own way through a pipe needs a file descriptor for each."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpack(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)
