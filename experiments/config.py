"""What an evaluation can be told; every field is a command-line flag."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.arms import Arm, parse_seeds
from experiments.defaults import (
    ALL,
    FEWEST_SEEDS,
    TARGETS,
    TEXTS,
    TUNING_SEED,
    Recipe,
    default_arms,
    default_scale,
    default_seeds,
)
from experiments.devices import device_here
from experiments.engines import EngineName
from lr_env.errors import InvalidArgumentError
from lr_env.policy import DEFAULT_POLICY
from lr_env.tasks import DEFAULT_SCALE, DEFAULT_TASK, Scale, takes_argument

TASK_ARGUMENTS = ("data", "model", "stem", "head_dropout")
"""What is handed on to the task, where it takes it."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Compare a frozen policy with the usual learning-rate schedules on one task."""

    task: str = DEFAULT_TASK
    """Registered task: digits, titanic, cifar10, imdb, sst2, ...; `all`: the plan's four."""
    scale: Scale | None = None
    """smoke: seconds; quick: a subset for two cores; paper: the plan in full (default on a GPU)."""
    seeds: int | None = None
    """Paired seeds: each fixes split, initial weights and data order for all arms."""
    policy: str = DEFAULT_POLICY
    """Shipped policy by name, or the path of a policy folder."""
    arms: tuple[str, ...] = ()
    """Methods, apart by spaces or commas; `name@0.01` starts elsewhere, `name@best` is tuned,
    `name:3` has three seeds whatever the others have."""
    recipe: Recipe = "plan"
    """plan: our loop; hf-warmup: Hugging Face's Trainer with linear warm-up, on text."""
    epochs: int | None = None
    """Passes over the training data; the task's own if not given."""
    batch_size: int | None = None
    """Mini-batch size; the task's own if not given."""
    data: str | None = None
    """Data source, for tasks that take one: a folder, a file or a hub name."""
    model: str | None = None
    """Pretrained encoder, for tasks that take one: a hub name or a local folder."""
    stem: str | None = None
    """First layers of cifar10's ResNet-18: cifar or imagenet."""
    head_dropout: float | None = None
    """Dropout before the classifier, for tasks that take one."""
    out: Path = Path("runs/eval")
    """Folder that every task's results are kept in."""
    workers: int | None = None
    """Runs at a time, of one thread each; what the machine has room for if not given."""
    engine: EngineName = "local"
    """local: processes; ray: a cluster started here, or the one that RAY_ADDRESS names."""

    def __post_init__(self) -> None:
        for seeds in (self.seeds, *self._grid.values()):
            if seeds is not None and seeds < FEWEST_SEEDS:
                raise InvalidArgumentError(
                    f"seeds must be at least {FEWEST_SEEDS}, not {seeds}: fewer give no interval."
                )
            if seeds is not None and seeds > TUNING_SEED:
                raise InvalidArgumentError(
                    f"seeds must be at most {TUNING_SEED}, not {seeds}: tuning trials have those "
                    f"from {TUNING_SEED} on."
                )
        for name in ("epochs", "batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InvalidArgumentError(f"{name} must be above zero, not {value}.")
        for arm in self.parsed_arms:
            if arm.method.recipe != self.recipe:
                raise InvalidArgumentError(
                    f"Arm {arm.name} belongs to recipe {arm.method.recipe}, not {self.recipe}: "
                    f"give --recipe {arm.method.recipe}, or other arms."
                )
        if self.task == ALL and self.data is not None:
            raise InvalidArgumentError(
                "--data names one task's data, not that of all: set LR_ENV_DATA to a folder that "
                "holds all of them."
            )
        if self.recipe == "hf-warmup" and self.task not in TEXTS:
            raise InvalidArgumentError(
                f"Recipe hf-warmup fine-tunes a text classifier, not {self.task}: use --task "
                f"{' or '.join(TEXTS)}."
            )

    @property
    def by_task(self) -> tuple[EvaluateConfig, ...]:
        """A configuration for each task; of `all`, a task gets the arguments that it takes."""
        if self.task != ALL:
            return (self,)
        found = []
        for task in TARGETS:
            foreign = [name for name in TASK_ARGUMENTS if not takes_argument(task, name)]
            absent: dict[str, Any] = dict.fromkeys(foreign)
            found.append(replace(self, task=task, **absent))
        return tuple(found)

    @property
    def resolved_scale(self) -> Scale:
        """The scale, chosen by the machine if it was not given."""
        return self.scale or default_scale(self.task, device_here())

    @property
    def parsed_arms(self) -> list[Arm]:
        """The arms in the order given."""
        return list(self._grid)

    @property
    def seeds_by_arm(self) -> dict[str, int]:
        """The number of seeds by the arm's name, the task's own where none was given."""
        default = self.seeds or default_seeds(self.task, self.resolved_scale)
        return {arm.name: seeds or default for arm, seeds in self._grid.items()}

    @property
    def _grid(self) -> dict[Arm, int | None]:
        return parse_seeds(" ".join(self.arms or default_arms(self.task, self.recipe)))

    @property
    def task_arguments(self) -> dict[str, Any]:
        """Arguments for the task besides its seed.

        Raises:
            InvalidArgumentError: one was given that the task does not take.
        """
        given = {name: getattr(self, name) for name in TASK_ARGUMENTS}
        chosen = {name: value for name, value in given.items() if value is not None}
        for name in chosen:
            if not takes_argument(self.task, name):
                raise InvalidArgumentError(
                    f"Task {self.task!r} takes no {name.replace('_', ' ')}: leave "
                    f"--{name.replace('_', '-')} out."
                )
        if takes_argument(self.task, "scale"):
            chosen["scale"] = self.resolved_scale
        return chosen

    @property
    def folder(self) -> Path:
        """Where the results are kept: apart for every scale, recipe and model."""
        parts = [
            self.task,
            self.resolved_scale if self.resolved_scale != DEFAULT_SCALE else "",
            self.recipe if self.recipe != "plan" else "",
            self.stem or "",
            _model_name(self.model) if self.model else "",
            f"dropout-{self.head_dropout:g}" if self.head_dropout is not None else "",
        ]
        name = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-") for part in parts if part)
        return self.out / name

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "out": str(self.out), "scale": self.resolved_scale}


def _model_name(model: str) -> str:
    """Return a name for a model, with a mark that tells it from others whose names end alike."""
    name = Path(model).name or Path(model).resolve().name
    return f"{name}-{hashlib.sha256(model.encode()).hexdigest()[:4]}"
