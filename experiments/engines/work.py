"""One job inside a worker process, its errors made fit to be handed on."""

from __future__ import annotations

import os
import traceback

from experiments.engines.base import AnyJob, Report, Work, silent
from experiments.records import Record
from lr_env.errors import LrEnvError


class JobFailedError(LrEnvError):
    """A job, or the process that it ran in, ended in a way that nobody foresaw."""


def guarded(work: Work[AnyJob], job: AnyJob, report: Report = silent) -> Record:
    """Do `job`; an exception that is none of ours becomes one sentence that names its place."""
    try:
        return work(job, report)
    except LrEnvError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise JobFailedError(
            f"{job.title[0].upper()}{job.title[1:]} failed ({what}, at "
            f"{os.path.basename(place.filename)}:{place.lineno}): what is finished is kept; mend "
            "the cause and run the same command again."
        ) from error
