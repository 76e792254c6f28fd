"""What an evaluation can be told; every field is a command-line flag."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.arms import DEFAULT_ARMS, Arm, parse_arms
from lr_env.errors import InvalidArgumentError
from lr_env.policy import DEFAULT_POLICY
from lr_env.tasks import DEFAULT_TASK

FEWEST_SEEDS = 3


@dataclass(frozen=True)
class EvaluateConfig:
    """Compare a frozen policy with the usual learning-rate schedules on one task."""

    task: str = DEFAULT_TASK
    """Registered task: digits, breast_cancer, wine, titanic or family."""
    seeds: int = 10
    """Paired seeds: each fixes split, initial weights and data order for all arms."""
    policy: str = DEFAULT_POLICY
    """Shipped policy by name, or the path of a policy folder."""
    arms: tuple[str, ...] = DEFAULT_ARMS
    """Methods, separated by spaces or commas; `name@0.01` starts from another base rate."""
    epochs: int | None = None
    """Passes over the training data; the task's own if not given."""
    batch_size: int | None = None
    """Mini-batch size; the task's own if not given."""
    data: str | None = None
    """Data source, for tasks that take one: a folder, a file or a hub name."""
    out: Path = Path("runs/eval")
    """Folder that the task's results are kept in."""
    workers: int | None = None
    """Processes, of one thread each; the number of cores if not given."""

    def __post_init__(self) -> None:
        if self.seeds < FEWEST_SEEDS:
            raise InvalidArgumentError(
                f"seeds must be at least {FEWEST_SEEDS}, not {self.seeds}: fewer give no interval."
            )
        for name in ("epochs", "batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InvalidArgumentError(f"{name} must be above zero, not {value}.")
        parse_arms(" ".join(self.arms))

    @property
    def parsed_arms(self) -> list[Arm]:
        """The arms in the order given."""
        return parse_arms(" ".join(self.arms))

    @property
    def task_arguments(self) -> dict[str, Any]:
        """Arguments for the task besides its seed."""
        return {} if self.data is None else {"data": self.data}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "out": str(self.out)}
