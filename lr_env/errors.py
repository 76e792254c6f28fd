"""Typed errors of the library: each message is one sentence that names the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LrEnvError(Exception):
    """Base class of every error that a user's input can cause."""


class UnknownNameError(LrEnvError, ValueError):
    """A name (task, policy, arm, ...) that is not registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}."
        super().__init__(f"Unknown {kind} {name!r}: {hint}")
        self._arguments = (kind, name, names)

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str]]]:
        # Pickling calls __init__ anew: worker processes hand their errors on so.
        return type(self), self._arguments


class InvalidArgumentError(LrEnvError, ValueError):
    """An argument outside its documented range."""


class DataError(LrEnvError):
    """Data that is missing, unreachable or not of the expected layout."""


class ModelError(LrEnvError, ValueError):
    """A model or optimizer that cannot be loaded or controlled (nothing to train, say)."""


class PolicyError(LrEnvError):
    """A policy folder that is truncated, edited, or of another version or shape."""


class NonFiniteLossError(LrEnvError, ArithmeticError):
    """A training loss that is NaN or infinite."""


class CompilerError(LrEnvError, OSError):
    """There is no C++ compiler at hand that builds what is asked for."""


class OutputError(LrEnvError, OSError):
    """A folder or file that cannot be written, or read back."""


class TaskError(LrEnvError):
    """A task that breaks the promises of `lr_env.tasks.Task`."""


class WorkerError(LrEnvError):
    """A process of ours that died."""
