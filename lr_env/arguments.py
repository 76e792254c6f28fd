"""Checks of arguments that people hand over: a number is one before it is compared."""

from __future__ import annotations

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
