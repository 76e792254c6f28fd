"""`python -m agents.ensemble`: several agents, meta-trained one after another, as one policy.

What single meta-trainings learn differs from seed to seed; the mean of their actions does less.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from agents.config import DEVELOPED_ON, TrainConfig
from agents.held_out import HeldOut
from agents.merging import merge
from agents.monitor import save_best
from agents.report import report
from agents.run_folder import RunFolder
from agents.train import finish
from agents.workers import Workers
from lr_env import files
from lr_env.arguments import check_count
from lr_env.command_line import run_command
from lr_env.errors import OutputError
from lr_env.policy import FrozenPolicy
from lr_env.provenance import code_revision, command_line, describe_run

OUT = Path("runs/ensemble")
MEMBERS = "members"
APART = 1000
"""Between the seeds of two members: nobody's next seed is a member of his last."""


@dataclass(frozen=True)
class EnsembleConfig:
    """Meta-train several agents and export the mean of their actions as one frozen policy."""

    members: int = 3
    """Agents; each has its share of the budget (steps, or minutes) and a seed of its own."""
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(
        default_factory=lambda: TrainConfig(out=OUT)
    )
    """What they are meta-trained by."""

    def __post_init__(self) -> None:
        check_count("members", self.members)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"members": self.members, "train": self.train.to_dict()}

    def member(self, number: int, folder: RunFolder) -> TrainConfig:
        """Return what member `number` is meta-trained by, in a folder of its own."""
        own = self.train
        return replace(
            own,
            seed=own.seed + APART * number,
            steps=max(1, own.budget // self.members),
            minutes=None if own.minutes is None else own.minutes / self.members,
            out=folder.path / MEMBERS / str(number),
            name=None,
            resume=None,
        )


def ensemble(given: EnsembleConfig) -> FrozenPolicy:
    """Meta-train what is missing; return the policy, as exported."""
    console = Console()
    config, folder = _open(given)
    console.print(f"Run folder: {folder.path}", soft_wrap=True)
    console.print(f"To go on after an interruption: --resume {folder.path}", soft_wrap=True)
    runs = []
    for number in range(config.members):
        console.print(f"Member {number + 1} of {config.members}")
        runs.append(finish(config.member(number, folder)))
    workers = Workers((), config.train.workers)
    try:
        held_out = HeldOut(workers)
        _merged([run.final for run in runs], config, folder).save(folder.final)
        best = _merged([run.best for run in runs], config, folder)
        save_best(best, folder, held_out.mean(best))
        policy = report(FrozenPolicy.load(folder.best), folder, held_out, console)
    finally:
        workers.close()
    console.print(f"Best policy: {folder.best}\nLast policy: {folder.final}", soft_wrap=True)
    return policy


def _open(given: EnsembleConfig) -> tuple[EnsembleConfig, RunFolder]:
    """Return the run's settings, those that it was begun with, and its folder."""
    if given.train.resume is None:
        folder = RunFolder.new(given.train)
        files.write_json(folder.record, describe_run(given.to_dict()))
        return given, folder
    folder = RunFolder.find(given.train.resume, given.train.out)
    try:
        values = json.loads(folder.record.read_text(encoding="utf-8"))["config"]
        train = TrainConfig.from_dict(values["train"])
        return EnsembleConfig(values["members"], replace(train, resume=None)), folder
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{folder.record} cannot be read, or is of another version; begin a new run."
        ) from error


def _merged(paths: list[Path], config: EnsembleConfig, folder: RunFolder) -> FrozenPolicy:
    policies = [FrozenPolicy.load(path) for path in paths]
    members = [
        {key: policy.card.get(key) for key in ("name", "weights_sha256", "picking_score")}
        for policy in policies
    ]
    card = {
        **policies[0].card,
        "name": config.train.name or folder.path.name,
        "members": members,
        "config": config.to_dict(),
        "command": command_line(),
        "revision": code_revision(),
        "developed_on": list(DEVELOPED_ON),
    }
    return merge(policies, {key: card[key] for key in card if key != "weights_sha256"})


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        EnsembleConfig, ensemble, "python -m agents.ensemble", "go on with --resume latest."
    )


if __name__ == "__main__":
    raise SystemExit(main())
