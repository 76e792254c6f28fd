"""What the meta-test can be told; every field is a command-line flag."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.defaults import FEWEST_SEEDS
from experiments.engines import EngineName
from experiments.meta_test.cells import OF_A_POLICY
from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.meta_test import part_b
from lr_env.meta_test.suite import SEEDS
from lr_env.policy import DEFAULT_POLICY


@dataclass(frozen=True)
class MetaTestConfig:
    """Evaluate frozen policies on part B of the meta-test suite (docs/meta-test.md)."""

    policy: tuple[str, ...] = (DEFAULT_POLICY,)
    """Shipped policies by name, or paths of policy folders, separated by spaces or commas."""
    entries: tuple[str, ...] = ()
    """Entries of the suite; all if not given."""
    arms: tuple[str, ...] = ()
    """Arms of the policies, beside the agent itself and the baselines; all if not given."""
    seeds: int = SEEDS
    """Paired seeds of every cell."""
    first_seed: int = 0
    """Number of the first of them: behind those of other runs there are trainings that none saw."""
    out: Path = Path("runs/meta-test")
    """Folder that records and reports are kept in."""
    workers: int | None = None
    """Cells at a time, of one thread each; the number of cores if not given."""
    engine: EngineName = "local"
    """local: processes; ray: a cluster started here, or the one that RAY_ADDRESS names."""

    def __post_init__(self) -> None:
        if self.seeds < FEWEST_SEEDS:
            raise InvalidArgumentError(
                f"seeds must be at least {FEWEST_SEEDS}, not {self.seeds}: fewer give no interval."
            )
        if self.first_seed < 0:
            raise InvalidArgumentError(f"first_seed must be at least 0, not {self.first_seed}.")
        if self.workers is not None and self.workers < 1:
            raise InvalidArgumentError(f"workers must be above zero, not {self.workers}.")
        if not self.policies:
            raise InvalidArgumentError("Name at least one policy.")
        part_b(self.entry_names)
        for name in self.arm_names:
            if name not in OF_A_POLICY:
                raise UnknownNameError("arm of a policy", name, OF_A_POLICY)

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies, each once."""
        return _words(self.policy)

    @property
    def entry_names(self) -> tuple[str, ...]:
        """The entries' names, each once."""
        return _words(self.entries)

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The arms of a policy that are run, each once."""
        return tuple(dict.fromkeys(("agent", *_words(self.arms)))) if self.arms else OF_A_POLICY

    @property
    def turns(self) -> range:
        """Which of the suite's paired seeds are run."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "out": str(self.out)}


def _words(given: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(" ".join(given).replace(",", " ").split()))
