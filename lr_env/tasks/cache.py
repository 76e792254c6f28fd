"""What is computed once for all processes: decoded images, token ids.

An entry is one safetensors file, written aside and renamed, with the hash of its tensors beside
them. Entries that are broken, or whose tensors have another hash, are computed anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lr_env import files
from lr_env.errors import OutputError
from lr_env.user_warnings import warn_user

CACHE_VARIABLE = "LR_ENV_CACHE"
_HASH = "sha256"


@dataclass(frozen=True)
class Entry:
    """Tensors by name (mapped from the file, not read as a whole) and the hash of all of them."""

    tensors: Mapping[str, Tensor]
    hash: str


def cache_folder() -> Path:
    """Return the folder of LR_ENV_CACHE, or lr_env in the user's cache folder."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "lr_env"


def cached(kind: str, key: str, compute: Callable[[], Mapping[str, Tensor]]) -> Entry:
    """Return the entry `key` among those of `kind`, computed by `compute` if it is not there.

    Of several processes that want the same entry, one computes it. Where the cache cannot be
    written, everything works, slowly and with a warning.
    """
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    path = cache_folder() / kind / f"{name}.safetensors"
    entry = _load(path)
    if entry is not None:
        return entry
    with ExitStack() as held:
        try:
            files.ensure_folder(path.parent)
            held.enter_context(FileLock(path.with_suffix(".lock")))
        except (OutputError, OSError) as error:
            # Some file systems have no locks.
            _warn(error)
            return _entry(compute())
        entry = _load(path)
        if entry is None:
            entry = _entry(compute())
            try:
                files.write_bytes(path, save(dict(entry.tensors), {_HASH: entry.hash}))
            except OutputError as error:
                _warn(error)
        return entry


def _warn(error: Exception) -> None:
    warn_user(f"Nothing is cached: {error} (environment variable {CACHE_VARIABLE})")


def _load(path: Path) -> Entry | None:
    """Return the entry in `path`; None where there is none that is whole."""
    try:
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get(_HASH)
            entry = _entry({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    return entry if entry.hash == said else None


def _entry(tensors: Mapping[str, Tensor]) -> Entry:
    digest = hashlib.sha256()
    whole = {name: tensors[name].contiguous() for name in sorted(tensors)}
    for name, own in whole.items():
        digest.update(f"{name} {own.dtype} {tuple(own.shape)} ".encode())
        digest.update(own.numpy().data)
    return Entry(whole, digest.hexdigest())
