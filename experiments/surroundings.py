"""What a run is computed on besides its settings: data, encoder and versions.

A fingerprint has those of the process that plans an evaluation. Where workers are other machines,
these may have other data, another encoder to fall back upon or other packages.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from experiments.runs import RunSpec, versions_of
from lr_env.errors import DataError
from lr_env.tasks import make_task


def surroundings(spec: RunSpec, description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has to be the same wherever `spec` is computed.

    `description`: of the task with seed 0; where its data lies is no part of it.
    """
    own = {name: value for name, value in description.items() if name not in ("seed", "source")}
    return {**versions_of(spec), "task": own}


def check_surroundings(spec: RunSpec) -> None:
    """Raise DataError where this process would compute something else than was planned."""
    if spec.expects is None:
        return
    found = surroundings(spec, _description(_Arguments(spec.task, spec.task_arguments)))
    wanted = _flat(spec.expects)
    for name, value in _flat(found).items():
        if value != wanted.get(name):
            raise DataError(
                f"A worker has {name} {value!r} where the evaluation was planned with "
                f"{wanted.get(name)!r}: give all machines the same packages, data and model."
            )


class _Arguments:
    """A task and its arguments, to be told from others by what they print as."""

    def __init__(self, task: str, arguments: Mapping[str, Any]) -> None:
        self.task, self.arguments = task, arguments
        self._key = repr((task, sorted(arguments.items())))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Arguments) and self._key == other._key


@functools.cache
def _description(own: _Arguments) -> dict[str, Any]:
    """Return the description of seed 0, made once in every process."""
    return make_task(own.task, seed=0, **own.arguments).describe()


def _flat(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return versions and the task's description as one level of names."""
    return {**{k: v for k, v in known.items() if k != "task"}, **known["task"]}
