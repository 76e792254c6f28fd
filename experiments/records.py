"""Records: one file for each finished run, trusted only if it is of the same settings."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from experiments.training import RunSpec
from lr_env import files
from lr_env.errors import InvalidArgumentError

FORMAT = 1
_SAFE = re.compile(r"[A-Za-z0-9_.@+-]+")


class Records:
    """The folder of an evaluation's finished runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = files.ensure_folder(folder)

    def load(self, spec: RunSpec, fingerprint: str) -> dict[str, Any] | None:
        """Return the run's record; None if there is none, or it is broken or of other settings."""
        try:
            record: dict[str, Any] = json.loads(self._path(spec).read_text())
        except (OSError, ValueError):
            return None
        sound = isinstance(record, dict) and record.get("fingerprint") == fingerprint
        return record if sound and record.get("seed") == spec.seed else None

    def save(self, spec: RunSpec, fingerprint: str, record: dict[str, Any]) -> None:
        """Write the run's record aside and rename it."""
        files.write_json(self._path(spec), {"fingerprint": fingerprint, **record})

    def _path(self, spec: RunSpec) -> Path:
        name = f"{spec.arm.name}-seed{spec.seed}.json"
        if not _SAFE.fullmatch(name):
            raise InvalidArgumentError(f"{name!r} cannot be a file name: use another arm name.")
        return self.folder / name


def fingerprint(spec: RunSpec, task: dict[str, Any], policy_hash: str | None) -> str:
    """Return the hash of all that decides a run's result but its seed.

    `task`: the task's description without its seed; `policy_hash`: of the weights, for agents.
    """
    settings = {
        "format": FORMAT,
        "task": task,
        "arguments": spec.task_arguments,
        "arm": [spec.arm.name, spec.arm.method.__dict__],
        "policy": policy_hash if spec.arm.is_agent else None,
        "epochs": spec.epochs,
        "batch_size": spec.batch_size,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
