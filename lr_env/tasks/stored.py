"""Rows of a data set as tensors, read once for all processes and checked on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lr_env.tasks.cache import Entry, cached
from lr_env.tasks.sources import data_error, load_splits, resolve_source

Reader = Callable[[Any], Mapping[str, Tensor]]
"""Turns a `datasets.DatasetDict` into tensors; raises DataError for rows it cannot take."""


def stored_rows(name: str, hub: str, data: str | Path | None, read: Reader) -> Entry:
    """Return what `read` makes of the data of task `name`; the entry's hash is the data's.

    Local files are read anew when their names, sizes or times have changed, data of the hub
    when `datasets` says that it has.

    Raises:
        DataError: as `load_splits`, and whatever `read` finds.
    """
    source = resolve_source(name, hub, data)
    if Path(source).exists():
        return cached(name, _fingerprint(Path(source)), lambda: read(load_splits(name, hub, data)))
    splits = load_splits(name, hub, data)
    key = " ".join(f"{split} {rows._fingerprint}" for split, rows in sorted(splits.items()))
    return cached(name, key, lambda: read(splits))


def source_label(name: str, hub: str, data: str | Path | None) -> str:
    """Return what a record calls the source: a folder's or file's own name, or the hub name."""
    source = resolve_source(name, hub, data)
    return Path(source).resolve().name if Path(source).exists() else source


def read_part(name: str, splits: Any, split: str, column: str, classes: int) -> tuple[Any, Tensor]:
    """Return the rows of `splits[split]` and their labels `[n]`.

    Raises:
        DataError: the split, `column`, `label` or a row's label is missing.
    """
    if split not in splits:
        raise data_error(name, f"it has no {split} split (it has {', '.join(sorted(splits))})")
    rows = splits[split]
    for needed in (column, "label"):
        if needed not in rows.column_names:
            raise data_error(name, f"its {split} split lacks the column {needed!r}")
    return rows, _labels(name, rows.data["label"].to_numpy(), split, classes)


def _labels(name: str, values: NDArray[Any], split: str, classes: int) -> Tensor:
    if not np.issubdtype(values.dtype, np.integer):
        raise data_error(name, f"its {split} labels are not whole numbers in every row")
    if (values == -1).any():
        # How benchmarks mark labels that they withhold.
        raise data_error(name, f"its {split} split has rows without a label (-1)")
    strange = values[(values < 0) | (values >= classes)]
    if len(strange):
        raise data_error(
            name, f"its {split} split has the label {strange[0]}, not one of 0 to {classes - 1}"
        )
    return torch.from_numpy(values.astype(np.int64))


def _fingerprint(source: Path) -> str:
    """Return what changes when a file in or at `source` does."""
    paths = [source] if source.is_file() else sorted(source.rglob("*"))
    lines = [str(source.resolve())]
    for path in paths:
        if path.is_file():
            status = path.stat()
            lines.append(f"{path.relative_to(source)} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(lines)
