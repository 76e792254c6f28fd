"""Records: one file for each finished job, trusted only if whole and of the same settings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lr_env import files
from lr_env.errors import InvalidArgumentError
from lr_env.policy import FrozenPolicy

Record = dict[str, Any]
"""What is kept of a job: plain values, as JSON has them."""

_SAFE = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*(?:/[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*)*")
_BEHAVIOUR = (
    "weights_sha256", "action_space", "activation", "action_mode", "z_max", "max_step", "z_init",
    "ceiling", "schedule", "reach", "leak",
)  # fmt: skip
_BEHAVIOUR_WHERE_PRETRAINED = ("pretrained_reach",)


@dataclass(frozen=True)
class RecordFile:
    """The file of one job.

    Attributes:
        folder: of the records.
        name: of the file in it, without its ending; `/` for folders below.
        fingerprint: hash of all that decides the job's result.
    """

    folder: Path
    name: str
    fingerprint: str

    def __post_init__(self) -> None:
        if not _SAFE.fullmatch(self.name):
            raise InvalidArgumentError(f"{self.name!r} cannot be a file name: use another name.")

    @property
    def path(self) -> Path:
        """Where the file is, or will be."""
        return self.folder / f"{self.name}.json"

    def load(self) -> Record | None:
        """Return the record; None if there is none, or it is broken or of other settings."""
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            record: Record = stored["record"]
            sound = stored["fingerprint"] == self.fingerprint and stored["sha256"] == digest(record)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return record if sound else None

    def save(self, record: Record) -> None:
        """Write the record aside and rename it."""
        stored = {"fingerprint": self.fingerprint, "sha256": digest(record), "record": record}
        files.write_json(self.path, stored)


def digest(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values, whatever the order of their names."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def behaviour(policy: FrozenPolicy | None, pretrained: bool) -> dict[str, Any]:
    """Return what a policy's card says of how it acts; the rest of it is history.

    `pretrained`: whether the task begins with pretrained weights; what it does to those is no part
    of a result without any.
    """
    card = policy.card if policy is not None else {}
    names = (*_BEHAVIOUR, *(_BEHAVIOUR_WHERE_PRETRAINED if pretrained else ()))
    return {name: card[name] for name in names if name in card}
