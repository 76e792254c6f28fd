"""Where data comes from: an argument, then LR_ENV_DATA, then the Hugging Face hub."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
        raise data_error(name, f"{text} is no folder, file or hub name")
    root = os.environ.get(DATA_VARIABLE)
    if root:
        folder = Path(root) / name
        if not folder.is_dir():
            raise data_error(name, f"{DATA_VARIABLE} is {root}, which holds no folder {name}")
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
    kept_alone = False
    try:
        with _quiet():
            if Path(source).is_file():
                kind = "csv" if source.endswith(".csv") else "parquet"
                return datasets.load_dataset(kind, data_files={"train": source})
            if Path(source).exists() or hub_answers(source, "dataset"):
                return datasets.load_dataset(source)
            kept_alone = True
            with _offline():
                return datasets.load_dataset(source)
    except Exception as error:
        # Libraries below raise dozens of types here; the user can do the same about all of them.
        why = str(error).strip().splitlines()
        reason = why[0][:160] if why else type(error).__name__
        if kept_alone:
            reason = "the hub does not answer, and nothing was fetched from it before"
        raise data_error(name, f"{source} cannot be read ({reason})") from error


def load_table(name: str, hub: str, columns: tuple[str, ...], data: str | Path | None) -> DataFrame:
    """Return the train split of task `name` as a table.

    Raises:
        DataError: as `load_splits`, or a column is missing.
    """
    splits = load_splits(name, hub, data)
    if "train" not in splits:
        raise data_error(name, "it has no train split")
    table: DataFrame = splits["train"].to_pandas()
    missing = [column for column in columns if column not in table]
    if missing:
        raise data_error(
            name, f"it lacks the column {missing[0]!r} of the columns {', '.join(columns)}"
        )
    return table


def hub_answers(name: str, kind: Literal["dataset", "model"]) -> bool:
    """Return within seconds whether the hub is there: `datasets` alone retries for minutes."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        HfApi().repo_info(name, repo_type=kind, timeout=5)
    except HfHubHTTPError:
        return True
    except Exception:
        # Whatever the connection raises, what was fetched before can still be used.
        return False
    return True


def data_error(name: str, what: str) -> DataError:
    """Return the error of task `name`: what is wrong with its data, and all ways to give it."""
    return DataError(
        f"The data of task {name!r} cannot be used: {what}; give the task a data argument (a "
        f"folder, file or hub name), set {DATA_VARIABLE} to a folder that holds {name}/, or go "
        f"online with {DATA_VARIABLE} unset to fetch the data from the hub."
    )


def missing_package(package: str) -> DataError:
    """Return the error for a package that a task needs and the user has not installed."""
    return DataError(
        f"This task needs {package}, which is not installed: pip install 'lr-env[tasks]'."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep `datasets` from logging what goes wrong: the error that is raised says it."""
    from datasets.utils import logging as own

    before = own.get_verbosity()
    own.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        own.set_verbosity(before)


@contextmanager
def _offline() -> Iterator[None]:
    """Let `datasets` use nothing but what it has fetched before."""
    from datasets import config

    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before
