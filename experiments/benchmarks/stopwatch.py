"""A program under a stopwatch: some of its functions are timed, by name, in its own process.

`python -m experiments.benchmarks.stopwatch RESULT FUNCTIONS LAST MODULE ARGUMENTS...` runs MODULE
as `python -m` does, ends it as an interrupt would when the function LAST has returned for the
first time, and writes to RESULT how often and how long each of the FUNCTIONS ran.
"""

from __future__ import annotations

import functools
import importlib
import json
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def timed(function: Callable[..., Any], span: dict[str, float], last: bool) -> Callable[..., Any]:
    """Return `function`, whose calls are added up in `span`; the last one ends the program."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments, **options)
        span["calls"] += 1
        span["seconds"] += time.perf_counter() - began
        if last:
            raise KeyboardInterrupt
        return result

    return call


def find(name: str) -> tuple[Any, str]:
    """Return what holds the function that is named `module:Class.function`, and its last name."""
    module, _, path = name.partition(":")
    *outer, own = path.split(".")
    return functools.reduce(getattr, outer, importlib.import_module(module)), own


def main() -> None:
    """Run the command line."""
    result, functions, last, module, *arguments = sys.argv[1:]
    spans: dict[str, dict[str, float]] = {}
    for name in functions.split(","):
        holder, own = find(name)
        spans[name] = {"calls": 0, "seconds": 0.0}
        setattr(holder, own, timed(getattr(holder, own), spans[name], name == last))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        Path(result).write_text(json.dumps(spans), encoding="utf-8")


if __name__ == "__main__":
    main()
