"""Stacks in worker processes: each core trains its share of the mix."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from agents.branches import Branches, grow
from agents.curriculum import StackPlan
from lr_env import scoring
from lr_env.errors import InvalidArgumentError
from lr_env.policy import FrozenPolicy
from lr_env.processes import Answer, Processes
from lr_env.stack import Outcome, Stack

UNFIT = (
    AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, UnpicklingError,
    ValueError,
)  # fmt: skip
"""What is raised where a state that is cut off, or of another layout, is taken apart."""

DIED = (
    "A worker process died (out of memory?): resume the run; if it dies again, begin one with "
    "fewer slots or workers."
)


class Workers:
    """Stacks spread over processes; every call answers for all of them, in their order.

    Nothing depends on the number of processes: each stack has its own generators. Without plans
    they score policies.

    Raises:
        LrEnvError: a worker's own error, or that it died.
    """

    def __init__(self, plans: Sequence[StackPlan], count: int) -> None:
        count = min(count, len(plans)) if plans else count
        self._costs = [plan.cost for plan in plans]
        self._shares = share_out(self._costs, count)
        self._processes = Processes(DIED)
        try:
            for share in self._shares:
                self._processes.start(_build, [plans[index] for index in share])
            self.layers: list[int] = _merged(self._ask("layers"), self._shares)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Return the number of processes."""
        return len(self._processes)

    def reset(self) -> list[Tensor]:
        """Begin every stack from its plan's seed; return observations `[N, L, F]`."""
        return _merged(self._ask("reset"), self._shares)

    def replace(self, index: int, plan: StackPlan) -> Tensor:
        """Put a stack of `plan` in the place of one; return its first observations `[N, L, F]`.

        The process that has the least to do without the old one gets it.
        """
        old = [share.index(index) if index in share else None for share in self._shares]
        for share, place in zip(self._shares, old, strict=True):
            if place is not None:
                del share[place]
        loads = [sum(self._costs[own] for own in share) for share in self._shares]
        chosen = loads.index(min(loads))
        self._shares[chosen].append(index)
        self._costs[index] = plan.cost
        answers = self._processes.ask([
            ("replace", (place, plan if number == chosen else None))
            for number, place in enumerate(old)
        ])  # fmt: skip
        observation: Tensor
        (observation,) = [value for answer in answers for value in _unpack(answer)]
        self.layers[index] = observation.shape[1]
        return observation

    def step_async(self, actions: Sequence[Tensor]) -> None:
        """Send one decision `[N, L]` of every stack."""
        self._processes.send([
            ("step", [actions[index].numpy() for index in share]) for share in self._shares
        ])  # fmt: skip

    def step_wait(self) -> list[Outcome]:
        """Return what the decisions led to."""
        return _merged(self._processes.receive(), self._shares)

    def score(
        self,
        kinds: Sequence[str],
        policy: FrozenPolicy,
        suite: Sequence[scoring.Entry],
        seed: int,
    ) -> dict[str, list[Tensor]]:
        """Return final potentials by entry, for the policy or rivals (see `SCORERS`).

        Several kinds at once are shared out better than one after another: the dearest entry
        keeps one process busy while the other has no more to do.
        """
        weights = {name: tensor.numpy() for name, tensor in policy.weights().items()}
        jobs = [(kind, entry) for kind in kinds for entry in suite]
        shares = share_out([entry.cost for _, entry in jobs], len(self._processes))
        answers = self._processes.ask([
            ("score", (weights, policy.card, [jobs[index] for index in share], seed))
            for share in shares
        ])  # fmt: skip
        merged = iter(_merged(answers, shares))
        return {kind: [next(merged) for _ in suite] for kind in kinds}

    def grow(self, plans: Sequence[StackPlan]) -> list[Branches]:
        """Return what parts in the stacks of `plans`, which are not those that are stepped."""
        shares = share_out([plan.cost for plan in plans], len(self._processes))
        messages = [("grow", [plans[index] for index in share]) for share in shares]
        merged = _merged(self._processes.ask(messages), shares)
        return [Branches(**tensors) for tensors in merged]

    def state_dict(self) -> list[dict[str, Any]]:
        """Return every stack's state."""
        return _merged(self._ask("state"), self._shares)

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from `states`."""
        self._processes.ask([
            ("load", _pack([states[index] for index in share])) for share in self._shares
        ])  # fmt: skip

    def close(self) -> None:
        """End the processes."""
        self._processes.close()

    def _ask(self, word: str) -> list[Any]:
        return self._processes.ask([(word, None)] * len(self._processes))


def _merged(answers: Sequence[bytes], shares: Sequence[list[int]]) -> list[Any]:
    """Return what the answers hold, each item at its place."""
    merged: list[Any] = [None] * sum(len(share) for share in shares)
    for share, answer in zip(shares, answers, strict=True):
        for index, value in zip(share, _unpack(answer), strict=True):
            merged[index] = value
    return merged


def share_out(costs: Sequence[float], count: int) -> list[list[int]]:
    """Return which items each of `count` workers takes: dearest first, to the least laden."""
    shares: list[list[int]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for index in sorted(range(len(costs)), key=lambda item: -costs[item]):
        worker = loads.index(min(loads))
        shares[worker].append(index)
        loads[worker] += costs[index]
    return shares


def _build(plans: Sequence[StackPlan]) -> Answer:
    """Build one process's stacks; return what answers for them."""
    return partial(_answer, [_stack(plan) for plan in plans], list(plans))


def _stack(plan: StackPlan) -> Stack:
    return Stack(plan.entry.task, plan.entry.lanes, plan.entry.settings)


def _begin(stack: Stack, plan: StackPlan) -> Tensor:
    return stack.begin(torch.ones(stack.num, dtype=torch.bool), plan.seeds)


def _answer(stacks: list[Stack], plans: list[StackPlan], message: tuple[str, Any]) -> bytes:
    return _pack(_values(stacks, plans, *message))


def _values(stacks: list[Stack], plans: list[StackPlan], word: str, payload: Any) -> list[Any]:
    if word == "layers":
        return [len(stack.layers) for stack in stacks]
    if word == "reset":
        return [_begin(stack, plan) for stack, plan in zip(stacks, plans, strict=True)]
    if word == "replace":
        place, plan = payload
        if place is not None:
            del stacks[place], plans[place]
        if plan is None:
            return []
        stacks.append(_stack(plan))
        plans.append(plan)
        return [_begin(stacks[-1], plan)]
    if word == "step":
        pairs = zip(stacks, payload, strict=True)
        return [vars(stack.step(torch.from_numpy(actions))) for stack, actions in pairs]
    if word == "grow":
        return [vars(grow(plan)) for plan in payload]
    if word == "score":
        weights, card, jobs, seed = payload
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        policy = FrozenPolicy(tensors, card)
        return [scoring.SCORERS[kind](policy, [entry], seed)[0] for kind, entry in jobs]
    if word == "state":
        return [stack.state_dict() for stack in stacks]
    _load(stacks, payload)
    return []


def _load(stacks: list[Stack], states: bytes) -> None:
    try:
        for stack, state in zip(stacks, _unpack(states), strict=True):
            stack.load_state_dict(state)
    except UNFIT as error:
        # Any other error would end this process.
        raise InvalidArgumentError(
            f"the state of its stacks is of another layout ({error})"
        ) from error


def _pack(value: Any) -> bytes:
    """Tensors as bytes: torch's own way through a pipe needs a file descriptor for each."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpack(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)
