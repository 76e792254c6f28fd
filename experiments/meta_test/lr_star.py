"""`python -m experiments.meta_test.lr_star`: the best single rate of each optimizer on the family.

A policy that has merely memorised a rate is no better than this one with a cosine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from experiments.arms.lr_star import LR_STAR_FILE
from experiments.engines import Report, open_engine
from experiments.grid import run_all
from experiments.meta_test.losses import log_losses
from experiments.records import Record
from lr_env import files
from lr_env.action import Envelope
from lr_env.arguments import check_count
from lr_env.command_line import run_command
from lr_env.meta_test.pilots import hold
from lr_env.meta_test.trial import run_trial
from lr_env.provenance import describe_run
from lr_env.randomness import derive_seed
from lr_env.stack import StackSettings
from lr_env.tasks.family import FamilySpec, FamilyTask, family_specs

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
RATES = tuple(10 ** (-5 + quarter / 4) for quarter in range(17))
SPECS_SEED, STEPS = 77, 300
FLOOR = 0.01
"""Nats below which a loss counts as this one: a single spec whose loss vanishes would rule all."""


@dataclass(frozen=True)
class LRStarConfig:
    """Find each optimizer's best rate under a cosine, over specs of the meta-training family."""

    specs: int = 20
    """Kinds of training, drawn as meta-training draws architectures and sizes: its numbers of
    samples, intervals and memorised data are drawn later, and are not in these."""
    seeds: int = 2
    """Trainings of each kind from each rate."""
    out: Path = LR_STAR_FILE
    """The file to write."""
    workers: int | None = None
    """Processes, of one thread each; the number of cores if not given."""

    def __post_init__(self) -> None:
        for name in ("specs", "seeds", "workers"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))


@dataclass(frozen=True)
class Job:
    """All optimizers on one spec."""

    spec: FamilySpec
    seeds: int

    @property
    def title(self) -> str:
        """What an error calls it."""
        return f"the grid of {self.spec.architecture} in batches of {self.spec.batch_size}"

    @property
    def cost(self) -> float:
        """A rough guess: attention, and backbones to pretrain, are dear."""
        dear = self.spec.inputs == "tokens" or self.spec.architecture == "cnn"
        return (4.0 if dear else 1.0) * math.sqrt(self.spec.batch_size * self.spec.depth)


def find(config: LRStarConfig) -> None:
    """Train on the whole grid and write the file."""
    console = Console()
    specs = family_specs(SPECS_SEED, config.specs)
    tables: dict[FamilySpec, dict[str, list[float]]] = {}

    def save(job: Job, table: Record) -> None:
        tables[job.spec] = table

    jobs = [Job(spec, config.seeds) for spec in specs]
    with open_engine("local", config.workers, device="cpu") as engine:
        run_all(jobs, measure, save, engine, console, "lr*", "kinds of training")
    kinds = {
        "all": specs,
        "scratch": [spec for spec in specs if spec.architecture != "finetune"],
        "finetuning": [spec for spec in specs if spec.architecture == "finetune"],
    }
    best = {
        kind: {name: best_rate([tables[spec][name] for spec in own]) for name in OPTIMIZERS}
        for kind, own in kinds.items()
        if own
    }
    result = {
        **best["all"],
        "by_kind": {kind: best[kind] for kind in best if kind != "all"},
        "provenance": {
            "about": "the rate with the lowest mean final log validation loss under a cosine",
            "floor": FLOOR,
            "rates": list(RATES),
            "steps": STEPS,
            "specs": [spec.to_dict() for spec in specs],
            "log_loss": {
                name: [tables[spec][name] for spec in specs] for name in OPTIMIZERS
            },
            "run": describe_run({"specs": config.specs, "seeds": config.seeds}),
        },
    }  # fmt: skip
    files.write_json(config.out, result)
    console.print({name: result[name] for name in OPTIMIZERS}, result["by_kind"])


def measure(job: Job, report: Report) -> Record:
    """Return every optimizer's mean final log loss at each rate of the grid."""
    seeds = [derive_seed(turn, "lr star") % 2**31 for turn in range(job.seeds)]
    settings = StackSettings(
        schedules=("cosine",), total_steps=STEPS, steps_per_action=STEPS,
        envelope=Envelope(z_init="zero"),
    )  # fmt: skip
    table = {}
    for done, name in enumerate(OPTIMIZERS):
        report(done / len(OPTIMIZERS))
        own = replace(settings, optimizer=name)
        trial = run_trial(partial(FamilyTask, job.spec), own, RATES, seeds, hold)
        table[name] = log_losses(trial.loss, trial.initial_loss).mean(1).tolist()
    return table


def best_rate(log_losses_by_spec: Sequence[Sequence[float]]) -> float:
    """Return the grid's rate with the lowest mean over specs, losses counted as above `FLOOR`."""
    table = torch.tensor(log_losses_by_spec, dtype=torch.float64).clamp(min=math.log(FLOOR))
    mean = table.mean(0)
    return float(f"{RATES[int(mean.argmin())]:.3g}")


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        LRStarConfig, find, "python -m experiments.meta_test.lr_star", "nothing is kept."
    )


if __name__ == "__main__":
    raise SystemExit(main())
