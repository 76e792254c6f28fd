"""`python -m experiments.matched_start`: how far a matched start is from the best one.

Trainings of the meta-training family, under the start's own linear schedule and no actions, are
begun some octaves below and above it, all layers alike or some kinds of them, over lengths, batch
sizes, passes over the data and noise of its labels. Finished cells are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from torch import Tensor

from experiments.engines import Report, open_engine
from experiments.grid import complete
from experiments.meta_test.losses import log_losses
from experiments.records import Record, RecordFile, digest
from lr_env import action, files
from lr_env.action import Envelope
from lr_env.arguments import check_count
from lr_env.command_line import run_command
from lr_env.errors import UnknownNameError
from lr_env.layers import Layer, LayerKind
from lr_env.meta_test.trial import run_trial
from lr_env.provenance import describe_run, package_versions
from lr_env.randomness import derive_seed
from lr_env.stack import Stack, StackSettings
from lr_env.stack.optimizers import STACKED_OPTIMIZERS
from lr_env.tasks.family import FamilySpec, FamilyTask, family_spec

SPECS_SEED = 987_654_321
TURNS = (0, 1, 3, 4, 6)
"""Of the family: an MLP, a transformer, a residual MLP, a CNN, an MLP."""
STEPS = {"vector": (100, 300, 1000, 3000), "image": (100, 400, 1500), "tokens": (100, 400, 1500)}
BATCHES = {"vector": (8, 32, 128), "image": (32,), "tokens": (16,)}
PASSES, MANY = (2, 12, 40), 6
NOISE = (0.0, 0.3)
"""Largest share of labels drawn at random; every training has its own, up to that."""
FLOOR = 0.1
"""Share of its first loss that is added to a loss before its logarithm is taken: halving a tenth of
it is worth something, halving a thousandth next to nothing."""
SAMPLES = (200, 8000)
OFFSETS = tuple(float(octaves) for octaves in range(-4, 5))
HERE = OFFSETS.index(0.0)
TILTS = {
    "first +1": (1.0, 0.0, 0.0),
    "last -1": (0.0, -1.0, 0.0),
    "norm -1": (0.0, 0.0, -1.0),
    "all three": (1.0, -1.0, -1.0),
    "half of it": (0.5, -0.5, -0.5),
}
"""Octaves of the first layer, of the last one and of normalisation layers."""
ENVELOPE = Envelope(
    z_max=20.0, max_step=max(OFFSETS), z_init="matched", ceiling=None, schedule="linear"
)


@dataclass(frozen=True)
class MatchedStartConfig:
    """Compare a matched start with others, over length, batch size and the data's regime."""

    specs: int = 2
    """Specs of each kind of network."""
    seeds: int = 8
    """Trainings of every cell, from every start."""
    optimizer: str = "adam"
    """Optimizer of all of them."""
    out: Path = Path("runs/matched-start")
    """Folder of the cells and the table."""
    workers: int | None = None
    """Processes, of one thread each; the number of cores if not given."""

    def __post_init__(self) -> None:
        for name in ("specs", "seeds", "workers"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        if self.optimizer not in STACKED_OPTIMIZERS:
            raise UnknownNameError("stacked optimizer", self.optimizer, STACKED_OPTIMIZERS)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "out": str(self.out)}


@dataclass(frozen=True)
class Job:
    """One cell: trainings of one spec and length, from every start."""

    spec: FamilySpec
    steps: int
    seeds: int

    @property
    def title(self) -> str:
        """What an error calls it."""
        return f"{self.steps} steps of {self.spec.architecture}"

    @property
    def cost(self) -> float:
        """A rough guess."""
        return self.steps * self.spec.step_cost(self.seeds * (len(OFFSETS) + len(TILTS)))

    @property
    def many_passes(self) -> bool:
        """Whether it passes often over its data."""
        return self.steps * self.spec.batch_size >= MANY * self.spec.train_size


def jobs(config: MatchedStartConfig) -> list[Job]:
    """Return all cells."""
    found = []
    for turn in TURNS:
        for generation in range(1, config.specs + 1):
            drawn = family_spec(SPECS_SEED, turn, generation)
            for steps in STEPS[drawn.inputs]:
                for batch in BATCHES[drawn.inputs]:
                    for passes, noise in product(PASSES, NOISE):
                        size = min(max(round(steps * batch / passes), SAMPLES[0]), SAMPLES[1])
                        spec = replace(
                            drawn, optimizer=config.optimizer, train_size=size, batch_size=batch,
                            label_noise=noise, validation_size=512,
                        )  # fmt: skip
                        found.append(Job(spec, steps, config.seeds))
    return list(dict.fromkeys(found))


def measure(job: Job, report: Report) -> Record:
    """Return the mean final log loss, above `FLOOR`, from each of `OFFSETS` and `TILTS`."""
    settings = StackSettings(
        optimizer=job.spec.optimizer, total_steps=job.steps,
        steps_per_action=max(5, job.steps // 10), envelope=ENVELOPE,
    )  # fmt: skip
    seeds = [derive_seed(turn, "matched start") % 2**31 for turn in range(job.seeds)]

    def move_once(stack: Stack) -> Tensor:
        if int(stack.steps.max()) > 0:
            return torch.zeros(stack.num, len(stack.layers))
        return moves(stack.layers).repeat_interleave(len(seeds), dim=0) / ENVELOPE.max_step

    rates = (1e-3,) * (len(OFFSETS) + len(TILTS))
    trial = run_trial(partial(FamilyTask, job.spec), settings, rates, seeds, move_once)
    level = FLOOR * trial.initial_loss
    found = log_losses(trial.loss + level, trial.initial_loss + level)
    return {"log_loss": found.mean(1).tolist()}


def moves(layers: Sequence[Layer]) -> Tensor:
    """Return how far from the start every layer begins, in octaves `[OFFSETS + TILTS, L]`."""
    rows = [[offset] * len(layers) for offset in OFFSETS]
    for first, last, norm in TILTS.values():
        row = [norm if layer.kind is LayerKind.NORMALISATION else 0.0 for layer in layers]
        row[0] += first
        row[-1] += last
        rows.append(row)
    return torch.tensor(rows)


def _gaps(losses: Sequence[float]) -> dict[str, float]:
    """Return a cell's log losses by name, less the one at the start."""
    names = [*(f"{offset:+.0f}" for offset in OFFSETS), *TILTS]
    return {name: loss - losses[HERE] for name, loss in zip(names, losses, strict=True)}


def over_cells(log_loss: Mapping[Job, Sequence[float]]) -> pd.DataFrame:
    """Return mean and standard error over cells, and the share of cells that gain."""
    gaps = pd.DataFrame([_gaps(losses) for losses in log_loss.values()])
    return pd.DataFrame({"mean": gaps.mean(), "error": gaps.sem(), "gain in": (gaps < 0).mean()})


def table(log_loss: Mapping[Job, Sequence[float]]) -> pd.DataFrame:
    """Return by kind of network, length and data: the mean log loss at each offset, less that here.

    `best` is the mean of the lowest of every cell, all layers alike. It is chosen by the trainings
    that it is read on, and says a little more than there is.
    """
    rows = []
    for job, losses in log_loss.items():
        names = {
            "network": job.spec.architecture,
            "updates": job.steps,
            "passes": "many" if job.many_passes else "few",
            "labels": "noisy" if job.spec.label_noise else "clean",
        }
        gaps = _gaps(losses)
        best = min(list(gaps.values())[: len(OFFSETS)])
        rows.append({**names, **gaps, "best": best})
    return pd.DataFrame(rows).groupby(["network", "updates", "passes", "labels"], sort=False).mean()


def compare(config: MatchedStartConfig) -> str:
    """Run what is missing and return the table; it is written to `starts.txt`."""
    console = Console()
    folder = files.ensure_folder(config.out)
    files.write_json(folder / "run.json", describe_run(config.to_dict()))
    with open_engine("local", config.workers, device="cpu") as engine:
        records = complete(
            jobs(config), measure, lambda job: _file(folder, job), engine, console, "Matched start",
            "cells",
        )  # fmt: skip
    found = {job: own["log_loss"] for job, own in records.items()}
    text = f"{table(found).round(2).to_string()}\n\n{over_cells(found).round(4).to_string()}"
    files.write_text(folder / "starts.txt", text + "\n")
    console.print(text, markup=False, highlight=False)
    return text


def _file(folder: Path, job: Job) -> RecordFile:
    rule = [
        action.MATCHED_RATE, action.LONG, action.LEAST_LIMIT, action.BATCH_NORMALISED_LIMIT, FLOOR,
    ]  # fmt: skip
    fingerprint = digest({
        "spec": job.spec.to_dict(), "steps": job.steps, "seeds": job.seeds, "offsets": OFFSETS,
        "tilts": TILTS, "rule": rule, "versions": package_versions(("lr-env", "torch", "numpy")),
    })  # fmt: skip
    return RecordFile(folder / "cells", fingerprint[:16], fingerprint)


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        MatchedStartConfig,
        compare,
        "python -m experiments.matched_start",
        "finished cells are kept: the same command goes on with the others.",
    )


if __name__ == "__main__":
    raise SystemExit(main())
