"""Which arguments a registered task takes."""

from __future__ import annotations

import inspect

from lr_env.tasks import registry


def takes_argument(task: str, name: str) -> bool:
    """Return whether the factory of `task` takes the argument; False for an unknown task."""
    factory = registry._FACTORIES.get(task)
    if factory is None:
        return False
    parameters = inspect.signature(factory).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)
