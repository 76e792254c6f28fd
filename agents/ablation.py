"""`python -m agents.ablation`: what a part of the agent is worth, at a fixed small budget.

Every variant is meta-trained like the reference but for one thing, from the same seeds, and its
last policy meets the same trainings. Finished runs and scores are kept; the same command goes on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from agents.ablation_scores import NOTHING, keep_scores, kept_scores, label
from agents.ablation_table import table
from agents.config import TrainConfig
from agents.curriculum import exported_envelope
from agents.held_out import PICKING_SEED, REPORTING_LANES, REPORTING_SEED
from agents.run_folder import RunFolder
from agents.train import finish
from agents.variants import REFERENCE, VARIANTS, same_trainings, variant_config
from agents.workers import Workers
from lr_env import files
from lr_env.command_line import run_command
from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.held_out import held_out_suite
from lr_env.meta_test import SUITE_VERSION, part_a
from lr_env.policy import FrozenPolicy, make_card
from lr_env.provenance import code_revision, describe_run, package_versions

NEVER = 10**6
"""Updates between two scores: what counts is the last policy, and scores take their time."""
_NO_MATTER = ("out", "name", "workers", "resume", "minutes")
"""Settings that a finished run may have had otherwise: they do not change what it came to."""


@dataclass(frozen=True)
class AblationConfig:
    """Meta-train variants of the agent at a small budget, and compare them on equal trainings."""

    variants: tuple[str, ...] = field(default_factory=lambda: tuple(VARIANTS))
    """Names of variants; the reference is always among them."""
    seeds: tuple[int, ...] = (42, 43, 44)
    """Seeds of the meta-trainings."""
    steps: int = 440_000
    """Slot decisions of each: eight updates of PPO."""
    workers: int = 2
    """Processes; the result does not depend on it."""
    out: Path = Path("runs/ablation")
    """Folder of runs, scores and table."""

    def __post_init__(self) -> None:
        for name in self.variants:
            if name not in VARIANTS:
                raise UnknownNameError("variant", name, tuple(VARIANTS))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InvalidArgumentError("seeds are one or more whole numbers, each given once.")
        for name in ("steps", "workers"):
            if getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name} must be above zero, not {getattr(self, name)}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "variants": list(self.variants), "seeds": list(self.seeds), "steps": self.steps,
            "workers": self.workers, "out": str(self.out),
        }  # fmt: skip


class Ablation:
    """The runs and scores of an ablation's folder: those that are missing are made."""

    def __init__(self, config: AblationConfig, console: Console) -> None:
        self._config, self._console = config, console
        self._names = tuple(dict.fromkeys((REFERENCE, *config.variants)))
        self._revisions: list[str] = []

    def run(self) -> str:
        """Return the table, as Markdown; it is written to `ablation.md` after every variant."""
        folder = files.ensure_folder(self._config.out)
        files.write_json(folder / "run.json", describe_run(self._config.to_dict()))
        scores: dict[str, dict[int, list[Tensor]]] = {}
        turns = [(seed, name) for seed in self._config.seeds for name in self._names]
        for done, (seed, name) in enumerate(turns):
            self._console.print(f"{name}, seed {seed}: {done} of {len(turns)} done")
            policy = self._policy(name, seed)
            if name == REFERENCE:
                scores.setdefault(NOTHING, {})[seed] = self._scores(NOTHING, seed, policy, "start")
            scores.setdefault(name, {})[seed] = self._scores(name, seed, policy, "policy")
            written = table(scores, self._revisions)
            files.write_text(folder / "ablation.md", written)
        self._console.print(written, markup=False)
        return written

    def _policy(self, name: str, seed: int) -> FrozenPolicy:
        """Return the variant's last policy, meta-trained now or before."""
        if same_trainings(VARIANTS[name]):
            policy = self._trained(REFERENCE, seed)
            envelope = exported_envelope(self._wanted(name, seed))
            about = {key: policy.card[key] for key in ("name", "action_space", "activation")}
            return FrozenPolicy(policy.weights(), make_card(envelope=envelope, **about))
        return self._trained(name, seed)

    def _wanted(self, name: str, seed: int) -> TrainConfig:
        config = self._config
        return variant_config(
            name, steps=config.steps, seed=seed, workers=config.workers, score_every=NEVER,
            out=config.out / label(name, seed),
        )  # fmt: skip

    def _trained(self, name: str, seed: int) -> FrozenPolicy:
        wanted = self._wanted(name, seed)
        runs = sorted(wanted.out.glob("*/run.json"))
        for path in runs:
            if _what_counts(RunFolder(path.parent).config()) != _what_counts(wanted):
                raise InvalidArgumentError(
                    f"{path.parent} was meta-trained with other settings: move {self._config.out} "
                    "away, or name another folder with --out."
                )
        run = finish(wanted)
        self._remember(run.path)
        return FrozenPolicy.load(run.final)

    def _remember(self, run: Path) -> None:
        """Note the code that a run is of, and say so where it is not today's."""
        revision = str(json.loads((run / "run.json").read_text())["revision"])
        if revision not in self._revisions:
            self._revisions.append(revision)
            if revision != str(code_revision()):
                self._console.print(f"[yellow]{run} is of revision {revision}, not of today's.")

    def _scores(self, name: str, seed: int, policy: FrozenPolicy, kind: str) -> list[Tensor]:
        """Return final potentials by suite, all entries one after another `[trainings]`."""
        folder, of = self._config.out / "scores", _fingerprint(policy, kind)
        kept = kept_scores(folder, name, seed, of)
        if kept is not None:
            return kept
        found = score_suites(policy, kind, self._config.workers)
        keep_scores(folder, name, seed, of, found)
        return found


def score_suites(policy: FrozenPolicy, kind: str, workers: int) -> list[Tensor]:
    """Return final potentials by suite of the table `[trainings]`; `kind`: of `SCORERS`."""
    suites = (
        (part_a(), PICKING_SEED),
        (part_a(shown=True), PICKING_SEED),
        (held_out_suite(REPORTING_LANES), REPORTING_SEED),
    )
    own = Workers((), workers)
    try:
        return [torch.cat(own.score([kind], policy, suite, seed)[kind]) for suite, seed in suites]
    finally:
        own.close()


def ablate(config: AblationConfig) -> str:
    """Run what is missing and return the table."""
    return Ablation(config, Console()).run()


def _what_counts(config: TrainConfig) -> dict[str, Any]:
    return {key: value for key, value in config.to_dict().items() if key not in _NO_MATTER}


def _fingerprint(policy: FrozenPolicy, kind: str) -> str:
    """Return the SHA-256 of all that a score hangs on."""
    meant = (
        policy.envelope, kind, PICKING_SEED, REPORTING_LANES, REPORTING_SEED, SUITE_VERSION,
        sorted(package_versions(("lr-env", "torch", "numpy")).items()),
    )  # fmt: skip
    digest = hashlib.sha256(repr(meant).encode())
    for name, tensor in sorted(policy.weights().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


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
