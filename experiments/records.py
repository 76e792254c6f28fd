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

Record = dict[str, Any]
"""What is kept of a job: plain values, as JSON has them."""

_SAFE = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*(?:/[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*)*")
_SHORT = 12
"""Characters of a fingerprint that are enough to name a file by."""


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
        for path in (self.path, self._aside(self.fingerprint)):
            found = _read(path)
            if found is not None and found[0] == self.fingerprint:
                return found[1]
        return None

    def save(self, record: Record) -> None:
        """Write the record aside and rename it; one of other settings makes room for it."""
        there = _read(self.path)
        if there is not None and there[0] != self.fingerprint:
            files.rename(self.path, self._aside(there[0]))
        stored = {"fingerprint": self.fingerprint, "sha256": digest(record), "record": record}
        files.write_json(self.path, stored)

    def _aside(self, fingerprint: str) -> Path:
        """Where a record is once the place is another's."""
        return self.path.with_name(
            f"{self.path.stem}.{hashlib.sha256(fingerprint.encode()).hexdigest()[:_SHORT]}.json"
        )


def _read(path: Path) -> tuple[str, Record] | None:
    """Return fingerprint and record of a file that is whole; None otherwise."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        record: Record = stored["record"]
        fingerprint = stored["fingerprint"]
        sound = isinstance(fingerprint, str) and stored["sha256"] == digest(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (fingerprint, record) if sound else None


def digest(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values, whatever the order of their names."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
