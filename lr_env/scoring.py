"""Scoring a policy: how far it takes trainings that it has never seen, against doing nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from lr_env.action import ActionMode, InitialScale
from lr_env.policy import FrozenPolicy
from lr_env.randomness import derive_seed, torch_generator
from lr_env.stack import Stack, StackSettings, TaskFactory

Act = Callable[[Tensor], Tensor]
"""Maps observations `[N, L, F]` to actions `[N, L]`."""


@dataclass(frozen=True)
class Entry:
    """One line of a suite: `lanes` trainings of one architecture under one set of settings.

    `cost` is a rough guess of its time next to the other lines', to spread them over cores.
    """

    name: str
    task: TaskFactory
    settings: StackSettings
    lanes: int
    cost: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """A policy's final potentials -log(loss / initial loss), higher is better, and rivals'.

    Attributes:
        policy: mean over the suite's entries.
        rivals: the same of each rival.
        over: mean paired differences, policy minus rival, with the half-width of their 95 %
            intervals (normal approximation over paired trainings, entries weighted equally).
        entries: the policy's mean by entry.
        trainings: number of paired trainings.
    """

    policy: float
    rivals: dict[str, float]
    over: dict[str, tuple[float, float]]
    entries: dict[str, float]
    trainings: int

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


def final_potentials(entry: Entry, act: Act, seed: int) -> Tensor:
    """Return the potential `[lanes]` that each training of `entry` ends with, under `act`.

    The same seed gives the same trainings whatever `act` is. Divergence counts as the floor.
    """
    stack = Stack(entry.task, entry.lanes, entry.settings)
    observation = stack.reset(derive_seed(seed, entry.name) % 2**31)
    result = torch.full((entry.lanes,), math.nan, dtype=torch.float64)
    while result.isnan().any():
        outcome = stack.step(act(observation))
        first = outcome.terminated & result.isnan()
        result = torch.where(first, outcome.potential, result)
        observation = outcome.observation
    return result


def score(policy: FrozenPolicy, entries: Sequence[Entry], seed: int) -> list[Tensor]:
    """Return the final potentials of `policy` for each entry, in the policy's own envelope."""
    return [
        final_potentials(_inside(entry, policy, policy.envelope.z_init), policy.act, seed)
        for entry in entries
    ]


def score_start(policy: FrozenPolicy, entries: Sequence[Entry], seed: int) -> list[Tensor]:
    """Return what zero actions reach: the policy's own start and schedule, and nothing learned."""
    # A residual zero is not a layer's start, but the base rate.
    return [
        final_potentials(
            _inside(entry, policy, policy.envelope.z_init, mode="incremental"), _zero, seed
        )
        for entry in entries
    ]


def score_schedule(policy: FrozenPolicy, entries: Sequence[Entry], seed: int) -> list[Tensor]:
    """Return what the base schedules reach alone."""
    return [final_potentials(_inside(entry, policy, "zero"), _zero, seed) for entry in entries]


def score_random(policy: FrozenPolicy, entries: Sequence[Entry], seed: int) -> list[Tensor]:
    """Return what uniformly random actions reach in the policy's envelope."""
    return [
        final_potentials(
            _inside(entry, policy, policy.envelope.z_init), _random_act(seed, entry), seed
        )
        for entry in entries
    ]


def _zero(observation: Tensor) -> Tensor:
    return observation.new_zeros(observation.shape[:-1])


def _random_act(seed: int, entry: Entry) -> Act:
    # A generator for each entry: processes that share a suite out draw what one process would.
    generator = torch_generator(seed, "random policy", entry.name)
    return lambda seen: 2.0 * torch.rand(seen.shape[:-1], generator=generator) - 1.0


SCORERS = {
    "policy": score,
    "start": score_start,
    "schedule": score_schedule,
    "random": score_random,
}
"""The policy and its rivals, by name."""


def compare(names: Sequence[str], potentials: Mapping[str, Sequence[Tensor]]) -> Comparison:
    """Return means and paired differences of final potentials.

    `potentials`: by name of a scorer, `policy` among them, one tensor for each of the entries
    `names`.
    """
    own = potentials["policy"]
    rivals = {name: other for name, other in potentials.items() if name != "policy"}
    return Comparison(
        policy=_mean(own),
        rivals={name: _mean(other) for name, other in rivals.items()},
        over={name: _difference(own, other) for name, other in rivals.items()},
        entries={name: float(mine.mean()) for name, mine in zip(names, own, strict=True)},
        trainings=sum(len(mine) for mine in own),
    )


def _inside(
    entry: Entry, policy: FrozenPolicy, z_init: InitialScale, mode: ActionMode | None = None
) -> Entry:
    """Return the entry's trainings in the policy's envelope, from another start if told.

    An envelope with a schedule of its own stands on constant rates, as it is deployed: the
    entry's would bring them down a second time.
    """
    envelope = policy.envelope.around(None, z_init)
    envelope = envelope if mode is None else replace(envelope, mode=mode)
    settings = replace(entry.settings, envelope=envelope)
    if envelope.schedule != "constant":
        settings = replace(settings, schedules=("constant",) * len(settings.schedules))
    return replace(entry, settings=settings)


def _mean(values: Sequence[Tensor]) -> float:
    return sum(float(own.mean()) for own in values) / len(values)


def _difference(own: Sequence[Tensor], other: Sequence[Tensor]) -> tuple[float, float]:
    gaps = [a - b for a, b in zip(own, other, strict=True)]
    variance = sum(float(gap.var()) / len(gap) for gap in gaps) / len(gaps) ** 2
    return _mean(gaps), 1.96 * math.sqrt(variance)
