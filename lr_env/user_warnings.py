"""Warnings that point at the user's own line, however deep in hooks they arise."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

_OTHERS = ("lr_env", "torch", "transformers", "accelerate", "contextlib")
"""Packages between a user's line and ours: hooks, wrappers, training loops."""


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of `message` where the innermost frame is that of none of those packages."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _package(frame) in _OTHERS:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
