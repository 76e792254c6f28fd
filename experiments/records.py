"""Records: one file for each finished run, trusted only if whole and of the same settings."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments.runs import RunSpec
from lr_env import files
from lr_env.errors import InvalidArgumentError
from lr_env.policy import FrozenPolicy

FORMAT = 3
_SAFE = re.compile(r"[A-Za-z0-9_.@+-]+")
_BEHAVIOUR = (
    "weights_sha256", "action_space", "activation", "action_mode", "z_max", "max_step", "z_init",
)  # fmt: skip
"""What a policy's card says of how it acts; the rest of it is history."""


class Records:
    """The folder of an evaluation's finished runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = files.ensure_folder(folder)

    def load(self, spec: RunSpec, fingerprint: str) -> dict[str, Any] | None:
        """Return the run's record; None if there is none, or it is broken or of other settings."""
        try:
            stored = json.loads(self._path(spec).read_text(encoding="utf-8"))
            record: dict[str, Any] = stored["record"]
            sound = stored["fingerprint"] == fingerprint and stored["sha256"] == _sha256(record)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return record if sound else None

    def save(self, spec: RunSpec, fingerprint: str, record: dict[str, Any]) -> None:
        """Write the run's record aside and rename it."""
        stored = {"fingerprint": fingerprint, "sha256": _sha256(record), "record": record}
        files.write_json(self._path(spec), stored)

    def _path(self, spec: RunSpec) -> Path:
        name = f"{spec.arm.name}-seed{spec.seed}.json"
        if not _SAFE.fullmatch(name):
            raise InvalidArgumentError(f"{name!r} cannot be a file name: use another arm name.")
        return self.folder / name


def fingerprint(spec: RunSpec, task: dict[str, Any], policy: FrozenPolicy | None) -> str:
    """Return the hash of all that decides a run's result.

    `task`: the task's description without its seed, and the budget.
    """
    card = policy.card if policy is not None and spec.arm.is_agent else {}
    library = spec.arm.method.package
    packages = ("lr-env", "torch", *([library] if library else []))
    return _sha256(
        {
            "format": FORMAT,
            "versions": {package: version(package) for package in packages},
            "task": task,
            "arguments": dict(spec.task_arguments),
            "seed": spec.seed,
            "run": [spec.device, spec.recipe, spec.scale, spec.read_test],
            "arm": [spec.arm.method_name, spec.arm.lr, asdict(spec.arm.method)],
            "policy": {name: card[name] for name in _BEHAVIOUR if name in card},
        }
    )


def _sha256(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
