"""An evaluation's records in one file: to be published with its report, and to go on from."""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.records import Record, RecordFile, digest
from lr_env.errors import DataError, InvalidArgumentError

ARCHIVE = "records.jsonl.xz"
FOLDERS = ("records", "tuning")
"""Of an evaluation: the runs that are reported, and the trials of tuned arms."""


def pack(folder: Path, wanted: Mapping[str, str]) -> bytes:
    """Return records of the evaluation in `folder`: xz, a JSON object on each line.

    `wanted`: fingerprints by name, `records/adam-seed0` for instance. Equal files make equal bytes.

    Raises:
        DataError: one of them is missing, damaged or of other settings.
    """
    lines = []
    for name, fingerprint in sorted(wanted.items()):
        kind, _, own = name.partition("/")
        file = RecordFile(folder / kind, own, fingerprint)
        record = file.load()
        if record is None:
            raise DataError(
                f"{file.path} is not the record that the report was made of: run the evaluation "
                "again, which computes what is missing and writes the report anew."
            )
        line = {"name": name, "fingerprint": fingerprint, "sha256": digest(record)}
        lines.append(json.dumps({**line, "record": record}) + "\n")
    return lzma.compress("".join(lines).encode(), preset=9)


def unpack(archive: Path, folder: Path) -> tuple[int, int, int]:
    """Write the records of `archive` that `folder` has not.

    Returns how many are new, how many were there, and in how many places another one stands:
    whatever is in `folder` stays as it is. Whether a record is of today's settings is found out
    by the evaluation that reads it.

    Raises:
        DataError: there is no such archive, or it is damaged.
        OutputError: `folder` cannot be written.
    """
    lines = _lines(archive)
    files = [_file_of(line, archive, folder) for line in lines]
    fresh = [
        (file, line["record"])
        for file, line in zip(files, lines, strict=True)
        if not file.path.exists()
    ]
    for file, record in fresh:
        file.save(record)
    same = sum(file.load() is not None for file in files) - len(fresh)
    return len(fresh), same, len(files) - len(fresh) - same


def records_in(archive: Path) -> dict[str, Record]:
    """Return the records of `archive` by name, `records/adam-seed0` for instance.

    Raises:
        DataError: there is no such archive, or it is damaged.
    """
    lines = _lines(archive)
    for line in lines:
        _check(line, archive)
    return {line["name"]: line["record"] for line in lines}


def _lines(archive: Path) -> list[Any]:
    try:
        with lzma.open(archive, "rt", encoding="utf-8") as text:
            return [json.loads(line) for line in text]
    except OSError as error:
        raise DataError(f"Cannot read {archive} ({error.strerror or error}).") from error
    except (lzma.LZMAError, EOFError, ValueError, RecursionError) as error:
        raise _damaged(archive) from error


def _file_of(line: Any, archive: Path, folder: Path) -> RecordFile:
    """Return where a line's record belongs: a name from outside stays inside `folder`."""
    _check(line, archive)
    kind, _, name = line["name"].partition("/")
    if kind not in FOLDERS:
        raise _damaged(archive)
    try:
        return RecordFile(folder / kind, name, line["fingerprint"])
    except InvalidArgumentError as error:
        raise _damaged(archive) from error


def _check(line: Any, path: Path) -> None:
    """Raise DataError unless the line has a record and the hash is that of the record."""
    try:
        sound = line["sha256"] == digest(line["record"])
        sound &= isinstance(line["name"], str) and isinstance(line["fingerprint"], str)
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise _damaged(path)


def _damaged(path: Path) -> DataError:
    return DataError(f"{path} is no record of an evaluation, or it is damaged: remove it.")
