"""Checks of arguments that people hand over: a number is one before it is compared."""

from __future__ import annotations

import operator
from typing import Any

from lr_env.errors import InvalidArgumentError


def check_whole(name: str, count: object) -> None:
    """Raise InvalidArgumentError unless `count` is a whole number."""
    if not hasattr(count, "__index__"):
        raise InvalidArgumentError(f"{name} must be a whole number, not {count!r}.")


def check_count(name: str, count: Any) -> None:
    """Raise InvalidArgumentError unless `count` is a whole number of at least 1."""
    check_whole(name, count)
    if count < 1:
        raise InvalidArgumentError(f"{name} must be at least 1, not {count}.")


def check_number(name: str, value: Any) -> None:
    """Raise InvalidArgumentError unless `value` is a real number."""
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        raise InvalidArgumentError(f"{name} must be a number, not {value!r}.")


def plain(value: Any) -> Any:
    """Return a number or name as Python's own, as checkpoints hold them; NumPy's may come in."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, str):
        return str(value)
    try:
        return operator.index(value)
    except TypeError:
        return float(value)
