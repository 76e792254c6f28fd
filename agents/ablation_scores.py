"""Scores of an ablation as files: one for each variant and seed, which tables are made from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from agents.variants import VARIANTS
from lr_env import files

NOTHING = "zero actions"
"""The row of the reference's own start and schedule, from which a policy is worth its actions."""


def label(name: str, seed: int) -> str:
    """Return the name of a file or folder for a variant's meta-training from this seed."""
    return f"{_plain(name)}-{seed}"


def keep_scores(folder: Path, name: str, seed: int, of: str, potentials: Sequence[Tensor]) -> None:
    """Write final potentials by suite `[trainings]`; `of`: fingerprint of what they hang on."""
    files.ensure_folder(folder)
    found = {"of": of, "potentials": [own.tolist() for own in potentials]}
    files.write_json(folder / f"{label(name, seed)}.json", found)


def kept_scores(folder: Path, name: str, seed: int, of: str) -> list[Tensor] | None:
    """Return what was kept, None if there is nothing of that fingerprint."""
    path = folder / f"{label(name, seed)}.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return _tensors(found["potentials"]) if found["of"] == of else None


def read_scores(folder: Path) -> dict[str, dict[int, list[Tensor]]]:
    """Return all that a folder holds, by variant in the order of `VARIANTS` and by seed."""
    scores: dict[str, dict[int, list[Tensor]]] = {}
    for name in (NOTHING, *VARIANTS):
        for path in sorted(folder.glob(f"{_plain(name)}-*.json")):
            seed = path.stem.removeprefix(f"{_plain(name)}-")
            if seed.isdecimal():
                found = json.loads(path.read_text(encoding="utf-8"))
                scores.setdefault(name, {})[int(seed)] = _tensors(found["potentials"])
    return scores


def _tensors(potentials: list[list[float]]) -> list[Tensor]:
    return [torch.tensor(own, dtype=torch.float64) for own in potentials]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())
