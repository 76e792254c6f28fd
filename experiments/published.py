"""What is published of a run: its report's files, whole or refused, with the records behind it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.archive import ARCHIVE
from lr_env import files
from lr_env.errors import DataError, InvalidArgumentError

SUMMARY = "summary.json"


def check_whole(folder: Path, kept: Sequence[str], run: str) -> None:
    """Raise InvalidArgumentError unless `folder` has all files of a report; `run` made them."""
    for name in kept:
        if not (folder / name).is_file():
            raise InvalidArgumentError(
                f"{folder} has no report, or lacks its {name}: run the {run} again, which computes "
                "what is missing and writes the report anew."
            )


def read_summary(folder: Path, keys: Sequence[str], run: str) -> dict[str, Any]:
    """Return the summary of the report in `folder`. Raises DataError unless it has `keys`."""
    try:
        found: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        for key in keys:
            found[key]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder / SUMMARY} is damaged or of an earlier version: run the {run} again, which "
            "writes it anew."
        ) from error
    return found


def put(folder: Path, target: Path, names: Iterable[str], records: bytes) -> None:
    """Put files and folders of `folder` by their names, and records, in place of what was there."""

    def fill(fresh: Path) -> None:
        for name in names:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, fresh / name)
            else:
                shutil.copyfile(folder / name, fresh / name)
        files.write_bytes(fresh / ARCHIVE, records)

    files.write_folder(target, fill)
