"""The warm start of PPO: branches are grown, kept in the run's folder, and the actor fitted."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.torch import load, save
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.actor_fit import fit_actor
from agents.branches import Branches, plan_branches
from agents.config import TrainConfig
from agents.features import seen_features
from agents.run_folder import RunFolder
from agents.workers import Workers
from lr_env import files
from lr_env.errors import LrEnvError
from lr_env.randomness import derive_seed


def warm_start(
    config: TrainConfig, model: BaseAlgorithm, workers: Workers, folder: RunFolder, console: Console
) -> None:
    """Fit PPO's actor to branches, those that the run's folder has and those still to be grown.

    DQN begins untrained: its values are of other actions.
    """
    if not isinstance(model, PPO) or not config.branches:
        return
    branches = _gather(config, workers, folder, console)
    seen = seen_features(config.features_off)
    course = fit_actor(model.policy, branches, seen, derive_seed(config.seed, "actor fit"))
    count = sum(len(own.outcome) for own in branches)
    console.print(f"Actor fitted to {count:,} instances: {course[-1]:.3f} nats above zero actions.")


def _gather(
    config: TrainConfig, workers: Workers, folder: RunFolder, console: Console
) -> list[Branches]:
    plans = list(plan_branches(config))
    together = 2 * config.stacks
    files.ensure_folder(folder.branches)
    found: list[Branches] = []
    progress = Progress(
        TextColumn("branches, {task.completed} of {task.total} stacks"), BarColumn(),
        TextColumn("left"), TimeRemainingColumn(), console=console,
    )  # fmt: skip
    with progress:
        bar = progress.add_task("", total=len(plans))
        for first in range(0, len(plans), together):
            path = folder.branches / f"{first:05d}.safetensors"
            if not path.exists():
                _write(path, workers.grow(plans[first : first + together]))
            found += _read(path)
            progress.update(bar, completed=len(found))
    return found


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
            Branches(tensors[f"{index}.observation"], tensors[f"{index}.outcome"])
            for index in indices
        ]
    except (OSError, SafetensorError, KeyError) as error:
        raise LrEnvError(f"{path} cannot be read: remove it, and resume the run.") from error
