"""A run's folder: what it was told, its logs, its checkpoint, its policies."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.config import TrainConfig
from agents.curriculum import StackPlan
from lr_env import files
from lr_env.errors import InvalidArgumentError, OutputError
from lr_env.provenance import describe_run


class RunFolder:
    """Names of the files of one meta-training run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "run.json"
        self.checkpoint = path / "checkpoint.pt"
        self.branches = path / "branches"
        self.best = path / "policies" / "best"
        self.final = path / "policies" / "final"
        self.logs = path / "logs"

    @classmethod
    def create(cls, config: TrainConfig, plans: list[StackPlan]) -> RunFolder:
        """Make a new run's folder and write what the run is before it begins.

        Raises:
            OutputError: the folder cannot be written to.
        """
        folder = cls.new(config)
        about = describe_run(config.to_dict())
        files.write_json(
            folder.record, {**about, "stacks": [plan.describe() for plan in plans]}
        )  # fmt: skip
        return folder

    @classmethod
    def new(cls, config: TrainConfig) -> RunFolder:
        """Make an empty folder under `config.out`, named after what is run and when.

        Raises:
            OutputError: it cannot be made.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        base = config.out / f"{config.algo}-seed{config.seed}-{stamp}"
        path = base
        number = 1
        while path.exists():
            number += 1
            path = base.with_name(f"{base.name}-{number}")
        return cls(files.ensure_folder(path))

    @classmethod
    def find(cls, name: str, out: Path) -> RunFolder:
        """Return the folder of a run to resume: a path, or `latest` under `out`.

        Raises:
            InvalidArgumentError: no such run.
        """
        if name == "latest":
            records = sorted(out.glob("*/run.json"), key=lambda path: path.stat().st_mtime)
            if not records:
                raise InvalidArgumentError(f"There is no run under {out} to resume: begin one.")
            return cls(records[-1].parent)
        folder = cls(Path(name))
        if not folder.record.is_file():
            raise InvalidArgumentError(
                f"{name} is not the folder of a run (no run.json in it): give one, or `latest`."
            )
        return folder

    def extend(self, steps: int | None) -> None:
        """Write down that the run's budget is now `steps`, for whoever goes on with it again.

        Raises:
            OutputError: its record cannot be read or written.
        """
        try:
            about = json.loads(self.record.read_text())
            about["config"]["steps"] = steps
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{self.record} cannot be read; begin a new run.") from error
        files.write_json(self.record, about)

    def config(self) -> TrainConfig:
        """Return the config that the run was begun with.

        Raises:
            OutputError: its record cannot be read.
        """
        try:
            values: dict[str, Any] = json.loads(self.record.read_text())["config"]
            return TrainConfig.from_dict(values)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{self.record} cannot be read, or is of another version; begin a new run."
            ) from error
