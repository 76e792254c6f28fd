"""Writing files so that nothing is ever half-written: aside first, then renamed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lr_env.errors import OutputError


def ensure_folder(folder: Path) -> Path:
    """Create `folder` with its parents. Raises OutputError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot write to {folder} ({error.strerror}): choose another folder."
        ) from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"Cannot write to {folder} (permission denied): choose another folder.")
    return folder


def read_tensors(path: Path, remedy: str) -> Any:
    """Return what torch saved to `path`, plain values and tensors, on the CPU; no code runs.

    Raises:
        FileNotFoundError: it is not there.
        OutputError: it cannot be read, or is damaged; with the remedy.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror}): {remedy}") from error
    except Exception as error:
        # Whatever bytes a file begins with are taken for a pickle's, which fails in many ways.
        raise OutputError(f"{path} is damaged, or was not saved by torch: {remedy}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically. Raises OutputError."""
    ensure_folder(path.parent)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OutputError(
            f"Cannot write {path} ({error.strerror}): free some space or choose another folder."
        ) from error


def rename(path: Path, to: Path) -> None:
    """Give a file another name; one that had it before is gone. Raises OutputError."""
    try:
        os.replace(path, to)
    except OSError as error:
        raise OutputError(
            f"Cannot rename {path} ({error.strerror}): choose another folder."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically. Raises OutputError."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as indented JSON to `path` atomically. Raises OutputError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a folder aside, then swap it in as `folder`. Raises OutputError."""
    if folder.is_symlink():
        # What it points to is written; it stays a link.
        folder = folder.resolve()
    ensure_folder(folder.parent)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"Cannot write {folder} (a file stands there): choose another folder.")
    try:
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise OutputError(
            f"Cannot write to {folder.parent} ({error.strerror}): choose another folder."
        ) from error
    old = aside.with_name(aside.name + ".old")
    try:
        fill(aside)
        aside.chmod(0o755)
        if folder.exists():
            os.replace(folder, old)
        os.replace(aside, folder)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"Cannot write {folder} ({error.strerror}): free some space or choose another folder."
        ) from error
    finally:
        # An interrupt between the two renames, too, leaves what was there.
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
