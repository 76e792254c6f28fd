"""What an engine promises, and how one is opened by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, get_args

from experiments.runs import RunSpec

EngineName = Literal["local", "ray"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)

Save = Callable[[RunSpec, dict[str, Any]], None]
Show = Callable[[float], None]
"""Takes the number of runs done, those under way counted by their share."""


class Engine(Protocol):
    """Computes runs; the records do not depend on which engine it was.

    Attributes:
        device: kind of device that its runs compute on.
    """

    device: str

    def run_all(self, specs: Sequence[RunSpec], save: Save, show: Show) -> None:
        """Run every spec, hand each record to `save` as soon as it is there, and `show` how far.

        Raises:
            LrEnvError: a run's own error, or that its process died. Whatever was finished by
                then has been saved; runs that were under way are given up.
        """


@contextmanager
def open_engine(name: EngineName, workers: int | None) -> Iterator[Engine]:
    """Start the engine of that name and stop it at the end.

    `workers`: runs at a time; what the machine has room for if None.
    """
    if name == "local":
        from experiments.engines.local import LocalEngine

        yield LocalEngine(workers)
        return
    from experiments.engines.ray import open_ray

    with open_ray(workers) as engine:
        yield engine
