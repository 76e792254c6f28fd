"""Engines: what the jobs of a grid are computed on."""

from experiments.engines.base import (
    AnyJob,
    Engine,
    EngineName,
    Job,
    Report,
    Save,
    Work,
    open_engine,
    silent,
)
from experiments.engines.work import JobFailedError, guarded

__all__ = [
    "AnyJob", "Engine", "EngineName", "Job", "JobFailedError", "Report", "Save", "Work",
    "guarded", "open_engine", "silent",
]  # fmt: skip
