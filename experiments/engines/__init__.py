"""Engines: what the runs of a grid are computed on."""

from experiments.engines.base import ENGINES, Engine, EngineName, Save, open_engine
from experiments.engines.work import RunFailedError, guarded_run

__all__ = [
    "ENGINES", "Engine", "EngineName", "RunFailedError", "Save", "guarded_run", "open_engine",
]  # fmt: skip
