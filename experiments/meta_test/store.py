"""Records of finished cells, trusted only if whole and of the same settings."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments.meta_test.cells import Cell, FamilyTrial
from experiments.records import _BEHAVIOUR
from lr_env import files
from lr_env.meta_test import SUITE_VERSION
from lr_env.policy import FrozenPolicy

FORMAT = 1


class Store:
    """The folder of one policy's records, or of the baselines' (no policy)."""

    def __init__(self, folder: Path, policy: FrozenPolicy | None) -> None:
        self.folder = files.ensure_folder(folder)
        card = policy.card if policy else {}
        self._acts = {name: card[name] for name in _BEHAVIOUR if name in card}

    def load(self, job: Cell | FamilyTrial) -> dict[str, Any] | None:
        """Return the job's record; None if there is none, or it is broken or of other settings."""
        try:
            stored = json.loads(self._path(job).read_text(encoding="utf-8"))
            record: dict[str, Any] = stored["record"]
            sound = (
                stored["fingerprint"] == self._fingerprint(job)
                and stored["sha256"] == _sha256(record)
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return record if sound else None

    def save(self, job: Cell | FamilyTrial, record: dict[str, Any]) -> None:
        """Write the record aside and rename it."""
        stored = {
            "fingerprint": self._fingerprint(job), "sha256": _sha256(record), "record": record,
        }  # fmt: skip
        files.write_json(self._path(job), stored)

    def _path(self, job: Cell | FamilyTrial) -> Path:
        return self.folder / f"{job.name}.json"

    def _fingerprint(self, job: Cell | FamilyTrial) -> str:
        return _sha256({
            "format": FORMAT,
            "suite": SUITE_VERSION,
            "versions": {package: version(package) for package in ("lr-env", "torch")},
            "job": job.describe(),
            "policy": self._acts,
        })  # fmt: skip


def _sha256(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
