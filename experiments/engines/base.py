"""What an engine computes and promises, and how one is opened by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol, TypeVar

from experiments.records import Record

EngineName = Literal["local", "ray"]


class Job(Protocol):
    """Something to compute: hashable, and picklable, since workers get a copy."""

    @property
    def title(self) -> str:
        """What an error calls it, such as `arm adam with seed 3`."""

    @property
    def cost(self) -> float:
        """Its share of the whole time, in a unit that all jobs have in common."""


AnyJob = TypeVar("AnyJob", bound=Job)

Report = Callable[[float], None]
"""Takes the share of a job that is done."""
Work = Callable[[AnyJob, Report], Record]
"""Computes a job; a function of a module, since it goes to other processes by its name."""
Save = Callable[[AnyJob, Record], None]
Show = Callable[[Sequence[float]], None]
"""Takes the share done of every job, in the order of the jobs."""


class Engine(Protocol):
    """Computes jobs; the records do not depend on which engine it was.

    Attributes:
        device: kind of device that its jobs compute on.
    """

    device: str

    def run_all(
        self, jobs: Sequence[AnyJob], work: Work[AnyJob], save: Save[AnyJob], show: Show
    ) -> None:
        """Do every job, hand each record to `save` as soon as it is there, and `show` how far.

        Raises:
            LrEnvError: a job's own error, or that its process died. Whatever was finished by
                then has been saved; jobs that were under way are given up.
        """


def silent(share: float) -> None:
    """Report to nobody."""


@contextmanager
def open_engine(
    name: EngineName, workers: int | None, device: str | None = None
) -> Iterator[Engine]:
    """Start the engine of that name and stop it at the end.

    `workers`: jobs at a time; what the machine has room for if None. `device`: kind of device to
    compute on; a GPU where there is one if None.
    """
    if name == "local":
        from experiments.engines.local import LocalEngine

        yield LocalEngine(workers, device)
        return
    from experiments.engines.ray import open_ray

    with open_ray(workers, device) as engine:
        yield engine
