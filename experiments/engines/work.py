"""One run inside a worker process, its errors made fit to be handed on."""

from __future__ import annotations

import os
import traceback
from typing import Any

from experiments.hf_recipe import run_in_trainer
from experiments.runs import Report, RunSpec, silent
from experiments.training import run
from lr_env.errors import LrEnvError


class RunFailedError(LrEnvError):
    """A run, or the process that it ran in, ended in a way that nobody foresaw."""


def guarded_run(spec: RunSpec, report: Report = silent) -> dict[str, Any]:
    """Run `spec`; an exception that is none of ours becomes one sentence that names its place."""
    try:
        return (run_in_trainer if spec.recipe == "hf-warmup" else run)(spec, report)
    except LrEnvError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise RunFailedError(
            f"Arm {spec.arm.name} failed with seed {spec.seed} ({what}, at "
            f"{os.path.basename(place.filename)}:{place.lineno}): finished runs are kept; mend "
            "the cause and run the same command again."
        ) from error
