"""Where data comes from: an argument, then LR_ENV_DATA, then the Hugging Face hub."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lr_env.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame

DATA_VARIABLE = "LR_ENV_DATA"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def resolve_source(name: str, hub: str, data: str | Path | None = None) -> str:
    """Return the local path or hub name that task `name` reads.

    `data` comes first: a folder in the hub's layout, a `.csv` or `.parquet` file, or a hub
    name. Then the folder `name` inside the one that LR_ENV_DATA names. Then `hub`.

    Raises:
        DataError: `data` or LR_ENV_DATA names something that is not there.
    """
    if data is not None:
        text = str(data)
        if Path(text).exists() or (_HUB_NAME.fullmatch(text) and text.count("/") == 1):
            return text
        raise DataError(f"No such data folder, file or hub name for task {name!r}: {text}.")
    root = os.environ.get(DATA_VARIABLE)
    if root:
        folder = Path(root) / name
        if not folder.is_dir():
            raise DataError(
                f"{DATA_VARIABLE} is set to {root}, which holds no folder {name!r}: put the data "
                f"there, unset {DATA_VARIABLE} to use the hub, or give the task a data argument."
            )
        return str(folder)
    return hub


def load_splits(name: str, hub: str, data: str | Path | None = None) -> Any:
    """Return the data of task `name` as a `datasets.DatasetDict`.

    Raises:
        DataError: it is neither local nor reachable, or cannot be read.
    """
    source = resolve_source(name, hub, data)
    try:
        import datasets
    except ImportError as error:
        raise missing_package("datasets") from error
    datasets.disable_progress_bars()
    try:
        if Path(source).is_file():
            kind = "csv" if source.endswith(".csv") else "parquet"
            return datasets.load_dataset(kind, data_files={"train": source})
        if not Path(source).exists():
            _quick_hub_check(name, source)
        return datasets.load_dataset(source)
    except DataError:
        raise
    except Exception as error:
        # Libraries below raise dozens of types here; the user can do the same about all of them.
        raise _unreadable(name, source, str(error)) from error


def load_table(name: str, hub: str, columns: tuple[str, ...], data: str | Path | None) -> DataFrame:
    """Return the train split of task `name` as a table.

    Raises:
        DataError: as `load_splits`, or a column is missing.
    """
    splits = load_splits(name, hub, data)
    if "train" not in splits:
        raise _unreadable(name, resolve_source(name, hub, data), "it has no train split")
    table: DataFrame = splits["train"].to_pandas()
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(
            f"The data of task {name!r} lacks the column {missing[0]!r}: it needs "
            f"{', '.join(columns)}."
        )
    return table


def missing_package(package: str) -> DataError:
    """Return the error for a package that a task needs and the user has not installed."""
    return DataError(
        f"This task needs {package}, which is not installed: pip install 'lr-env[tasks]'."
    )


def _quick_hub_check(name: str, source: str) -> None:
    """Fail within seconds where the hub cannot be reached: `datasets` alone retries for minutes."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return
    try:
        HfApi().dataset_info(source, timeout=5)
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise _unreadable(name, source, str(error)) from error


def _unreadable(name: str, source: str, why: str) -> DataError:
    reason = why.strip().splitlines()[0][:160] if why.strip() else "no reason given"
    return DataError(
        f"The data of task {name!r} cannot be read from {source} ({reason}): give the task a data "
        f"argument (a folder, file or hub name), set {DATA_VARIABLE} to a folder that holds "
        f"{name}/, or go online to fetch it from the hub."
    )
