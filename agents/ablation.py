"""`python -m agents.ablation`: what a part of the agent is worth, at a fixed small budget.

Every variant is meta-trained like the reference but for one thing, from the same seeds, and its
last policy meets the same trainings. Finished runs are kept; the same command goes on.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from scipy import stats
from torch import Tensor

from agents.config import PPOConfig, TrainConfig
from agents.features import FEATURE_GROUPS
from agents.held_out import PICKING_SEED, REPORTING_LANES, REPORTING_SEED
from agents.run_folder import RunFolder
from agents.train import train
from lr_env import files
from lr_env.command_line import run_command
from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.held_out import held_out_suite
from lr_env.meta_test import part_a
from lr_env.policy import FrozenPolicy
from lr_env.provenance import describe_run
from lr_env.scoring import score

REFERENCE = "reference"
VARIANTS: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    "one action for all layers": {"features_off": ("layer",), "shared_noise": 1.0},
    "every layer's own action": {"shared_action": False},
    "cautious start, without its schedule, reach and leak": {"start": "cautious"},
    "residual actions": {"action_mode": "residual"},
    "potential-based reward": {"reward": "potential"},
    "constant base schedules": {"schedules": "constant"},
    "no fine-tuning": {"fine_tuning": False},
    "nothing learned by heart": {"by_heart": False},
    "actions on pretrained layers": {"pretrained_reach": 3.0},
    "no ceiling": {"ceiling": 0.0},
    "the last weights": {"averaging": 0.0},
    "a warm start": {"branches": 120},
    "no twins": {"twins": 1},
    "white noise": {"ppo": PPOConfig(noise_memory=0.0)},
    "the plan's settings": {"preset": "plan"},
    "discount 0.99": {"gamma": 0.99},
    "learning rate 1e-4": {"learning_rate": 1e-4},
    **{
        f"without {group}": {"features_off": (group,)}
        for group in FEATURE_GROUPS
        if group != "layer"
    },
}
"""What is changed, by name. The first after the reference is the test declared in advance."""

FEWEST_SEEDS = 3
"""Meta-trainings of a variant that an interval can be made of."""
NOTE = (
    "Means over equal trainings. One meta-training differs from the next by more than many "
    "variants do: an interval, over meta-trainings, is given where there are at least three."
)
SUITES = ("part A of the meta-test suite", "part A with validation losses", "the held-out suite")


@dataclass(frozen=True)
class AblationConfig:
    """Meta-train variants of the agent at a small budget, and compare them on equal trainings."""

    variants: tuple[str, ...] = field(default_factory=lambda: tuple(VARIANTS))
    """Names of variants; the reference is always among them."""
    seeds: tuple[int, ...] = (42,)
    """Seeds of the meta-trainings."""
    steps: int = 400_000
    """Slot decisions of each."""
    out: Path = Path("runs/ablation")
    """Folder of runs and table."""

    def __post_init__(self) -> None:
        for name in self.variants:
            if name not in VARIANTS:
                raise UnknownNameError("variant", name, tuple(VARIANTS))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InvalidArgumentError("seeds are one or more whole numbers, each given once.")
        if self.steps < 1:
            raise InvalidArgumentError(f"steps must be above zero, not {self.steps}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "variants": list(self.variants), "seeds": list(self.seeds),
            "steps": self.steps, "out": str(self.out),
        }  # fmt: skip


def ablate(config: AblationConfig) -> str:
    """Run what is missing and return the table, as Markdown; it is written to `ablation.md`."""
    console = Console()
    # As meta-training does, whose runs may be there already: sums depend on it.
    torch.set_num_threads(1)
    folder = files.ensure_folder(config.out)
    files.write_json(folder / "run.json", describe_run(config.to_dict()))
    names = tuple(dict.fromkeys((REFERENCE, *config.variants)))
    scores: dict[str, list[list[Tensor]]] = {name: [] for name in names}
    for number, seed in enumerate(config.seeds):
        for turn, name in enumerate(names):
            done = number * len(names) + turn
            console.print(f"{name}, seed {seed}: {done} of {len(config.seeds) * len(names)} done")
            scores[name].append(_scores(_policy(config, name, seed)))
    table = _table(scores)
    files.write_text(folder / "ablation.md", table)
    console.print(table, markup=False)
    return table


def _policy(config: AblationConfig, name: str, seed: int) -> FrozenPolicy:
    """Return the variant's last policy, meta-trained now or before."""
    out = config.out / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{seed}"
    wanted = TrainConfig(steps=config.steps, seed=seed, out=out, **VARIANTS[name])
    runs = sorted(out.glob("*/run.json"))
    for run in runs:
        if RunFolder(run.parent).config().to_dict() != wanted.to_dict():
            raise InvalidArgumentError(
                f"{run.parent} was meta-trained with other settings: move {config.out} away, or "
                "name another folder with --out."
            )
    finished = sorted(out.glob("*/policies/final"))
    if not finished:
        train(replace(wanted, resume="latest" if runs else None), report=False)
        finished = sorted(out.glob("*/policies/final"))
    return FrozenPolicy.load(finished[-1])


def _scores(policy: FrozenPolicy) -> list[Tensor]:
    """Return final potentials by suite, all entries one after another `[trainings]`."""
    blind = part_a()
    shown = [
        replace(entry, settings=replace(entry.settings, validation_seen=1.0)) for entry in blind
    ]
    family = held_out_suite(REPORTING_LANES)
    return [
        torch.cat(score(policy, blind, PICKING_SEED)),
        torch.cat(score(policy, shown, PICKING_SEED)),
        torch.cat(score(policy, family, REPORTING_SEED)),
    ]


def _table(scores: dict[str, list[list[Tensor]]]) -> str:
    """Return means over trainings and seeds, and paired differences from the reference."""
    lines = [
        "| variant | " + " | ".join(f"{name} | minus the reference" for name in SUITES) + " |",
        "|---|" + "---|---|" * len(SUITES),
    ]
    for name, by_seed in scores.items():
        cells = []
        for suite in range(len(SUITES)):
            own = torch.stack([seed[suite] for seed in by_seed])
            reference = torch.stack([seed[suite] for seed in scores[REFERENCE]])
            cells += [f"{float(own.mean()):.3f}", _difference(own - reference)]
        lines.append(f"| {name} | " + " | ".join(cells if name != REFERENCE else [
            cell if turn % 2 == 0 else "" for turn, cell in enumerate(cells)
        ]) + " |")  # fmt: skip
    return "\n".join([*lines, "", NOTE]) + "\n"


def _difference(gaps: Tensor) -> str:
    """Return the mean of `[seeds, n]`, with its 95 % t interval over seeds where there are three.

    Trainings are equal for all variants; what varies is what a meta-training comes to.
    """
    by_seed = gaps.mean(1)
    mean = float(by_seed.mean())
    if len(by_seed) < FEWEST_SEEDS:
        return f"{mean:+.3f}"
    error = float(by_seed.std()) / math.sqrt(len(by_seed))
    half = float(stats.t.ppf(0.975, len(by_seed) - 1)) * error
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        AblationConfig,
        ablate,
        "python -m agents.ablation",
        "finished runs are kept: the same command goes on with the others.",
    )


if __name__ == "__main__":
    raise SystemExit(main())
