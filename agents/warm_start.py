"""The warm start of PPO: branches are grown, kept in the run's folder, and a rule is fitted."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.torch import load, save
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.actor_fit import carry, fit_rule
from agents.branches import Branches, plan_branches
from agents.config import TrainConfig
from agents.curriculum import LEAK
from agents.exploration import SharedNoisePolicy
from agents.features import seen_features
from agents.run_folder import RunFolder
from agents.workers import Workers
from lr_env import files
from lr_env.errors import LrEnvError

TOGETHER = 20
"""Stacks grown at a time and kept in one file: what an interruption loses at most."""
SHARE_OF_TIME = 0.6
"""Of a cap on time: no more are begun when it is over."""


def warm_start(
    config: TrainConfig,
    model: BaseAlgorithm,
    workers: Workers,
    folder: RunFolder,
    console: Console,
    began: float,
) -> None:
    """Begin PPO's actor with a rule fitted to branches, and hold it to that.

    They are those that the run's folder has and those still to be grown.
    """
    if not config.resolved_branches or not isinstance(model.policy, SharedNoisePolicy):
        return
    branches = _gather(config, workers, folder, console, began)
    if not branches:
        console.print("No time is left for branches: PPO begins without them.")
        return
    carry(model.policy.actor, fit_rule(branches, seen_features(config.features_off)), LEAK)
    model.policy.hold_to_actor()
    count = sum(len(own.worth) for own in branches)
    console.print(
        f"PPO begins with a rule fitted to {len(branches)} stacks of {count} instances.",
        soft_wrap=True,
    )


def _gather(
    config: TrainConfig, workers: Workers, folder: RunFolder, console: Console, began: float
) -> list[Branches]:
    plans = list(plan_branches(config))
    files.ensure_folder(folder.branches)
    found: list[Branches] = []
    progress = Progress(
        TextColumn("branches, {task.completed} of {task.total} stacks"), BarColumn(),
        TextColumn("left"), TimeRemainingColumn(), console=console,
    )  # fmt: skip
    with progress:
        bar = progress.add_task("", total=len(plans))
        for first in range(0, len(plans), TOGETHER):
            path = folder.branches / f"{first:05d}.safetensors"
            if not path.exists():
                if _over(config, began):
                    break
                _write(path, workers.grow(plans[first : first + TOGETHER]))
            found += _read(path)
            progress.update(bar, completed=len(found))
    return found


def _over(config: TrainConfig, began: float) -> bool:
    """Return whether a cap on time leaves no more of it for branches."""
    if config.minutes is None:
        return False
    return time.monotonic() - began > SHARE_OF_TIME * 60.0 * config.minutes


def _write(path: Path, branches: list[Branches]) -> None:
    tensors = {
        f"{index:05d}.{name}": tensor.contiguous()
        for index, own in enumerate(branches)
        for name, tensor in vars(own).items()
    }
    files.write_bytes(path, save(tensors))


def _read(path: Path) -> list[Branches]:
    try:
        tensors = load(path.read_bytes())
        indices = sorted({name.partition(".")[0] for name in tensors})
        return [
            Branches(*(tensors[f"{index}.{name}"] for name in ("observation", "worth", "movable")))
            for index in indices
        ]
    except (OSError, SafetensorError, KeyError) as error:
        raise LrEnvError(f"{path} cannot be read: remove it, and resume the run.") from error
