"""Names of tasks: `register_task` adds one, `make_task` builds an instance."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from lr_env.arguments import check_whole
from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.tasks.base import Task

TaskFactory = Callable[..., Task]

_FACTORIES: dict[str, TaskFactory] = {}


def register_task(name: str, factory: TaskFactory | None = None) -> Any:
    """Register `factory` (called with `seed=` and the user's arguments), or decorate a class.

    Registering a name anew replaces it. Raises InvalidArgumentError for an unusable name.
    """
    if not name or not all(c.isalnum() or c in "-_" for c in name):
        raise InvalidArgumentError(
            f"A task's name is made of letters, digits, '-' and '_', not {name!r}."
        )

    def add(target: TaskFactory) -> TaskFactory:
        _FACTORIES[name] = target
        return target

    return add if factory is None else add(factory)


def task_names() -> list[str]:
    """Return the registered names in alphabetical order."""
    return sorted(_FACTORIES)


def takes_argument(task: str, name: str) -> bool:
    """Return whether the factory of `task` takes the argument; False for an unknown task."""
    if task not in _FACTORIES:
        return False
    parameters = inspect.signature(_FACTORIES[task]).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def make_task(name: str, seed: int = 42, **arguments: Any) -> Task:
    """Build the instance of task `name` for `seed`.

    Raises:
        UnknownNameError: no such task; the message names the nearest one.
        InvalidArgumentError: the task takes no such argument, or the seed is no number from 0.
    """
    if name not in _FACTORIES:
        raise UnknownNameError("task", name, task_names())
    check_whole("seed", seed)
    if seed < 0:
        raise InvalidArgumentError(f"seed must be at least 0, not {seed}.")
    factory = _FACTORIES[name]
    try:
        inspect.signature(factory).bind(seed=seed, **arguments)
    except TypeError as error:
        raise InvalidArgumentError(f"Task {name!r}: {error}.") from error
    return factory(seed=seed, **arguments)
