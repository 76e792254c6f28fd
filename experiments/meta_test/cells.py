"""Cells of the meta-test: one arm on one entry, from all of its base rates, with all seeds."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import torch

from experiments.meta_test.losses import log_losses
from experiments.meta_test.lr_star import load_lr_star
from lr_env.action import Envelope
from lr_env.layers import group_layers
from lr_env.meta_test import MetaTestEntry
from lr_env.meta_test.models import parameters_of
from lr_env.meta_test.pilots import (
    follow,
    held_rates,
    hold,
    one_action,
    random_actions,
    replay,
    shuffled,
    summed_schedules,
)
from lr_env.meta_test.suite import CONTROL_RATES, TUNING_SEEDS
from lr_env.meta_test.trial import Pilot, Trial, run_trial
from lr_env.policy import FrozenPolicy
from lr_env.randomness import derive_seed
from lr_env.stack import StackSettings
from lr_env.tasks.family import FamilySpec, FamilyTask, build_network, family_specs

Use = Literal["report", "tuning"]
BASELINES = {"fixed": "constant", "cosine": "cosine", "linear": "linear"}
TUNED = ("cosine", "linear")
LR_STAR = {"lr_star": False, "lr_star_kind": True}
"""Arms that go to lr*, and whether it is that of the kind of training."""
FREE = ("cautious", "replay")
ON_BASE = ("random", "one_action", "shuffled", "mean_scales")
DEPENDENT = {"mean_scales": "agent", "replay": "schedule"}
"""Controls that need what another job found out."""
FREE_RATE = 1e-3
"""Base rate of arms whose rates do not depend on it."""
WIDEST = Envelope(z_max=20.0, mode="residual", z_init="zero")
SCHEDULE_SPECS, SCHEDULE_LANES, SCHEDULE_STEPS = 10, 8, 300
SCHEDULE_RATES = (1e-5, 1e-4, 1e-3, 1e-2)


@dataclass(frozen=True)
class Cell:
    """One arm on one entry.

    Attributes:
        entry, arm: what.
        seeds: number of paired seeds.
        rates: base rates.
        use: whether the seeds are those that are reported or those of tuning.
        policy: name or folder, for arms that need one.
        given: what a dependent control needs: log2 rates `[R][S][L]` or a schedule.
    """

    entry: MetaTestEntry
    arm: str
    seeds: int
    rates: tuple[float, ...]
    use: Use = "report"
    policy: str | None = None
    given: Any = None

    @property
    def name(self) -> str:
        """Path of the cell's record."""
        return f"{self.entry.name}/{self.arm}{'-tuning' if self.use == 'tuning' else ''}"

    @property
    def cost(self) -> float:
        """A rough guess of its seconds."""
        spec = self.entry.spec
        places = {"transformer": 3 * spec.size, "pooled_cnn": 192, "averaged_cnn": 192}
        numbers = parameters_of(spec) * spec.batch_size * places.get(spec.network, 1)
        step = 5e-5 + 3e-10 * numbers
        deciding = 1.0 if self.arm in (*BASELINES, *LR_STAR, "mean_scales") else 1.3
        return len(self.rates) * self.seeds * self.entry.total_steps * step * deciding

    def describe(self) -> dict[str, Any]:
        """Return all that decides its result, but for policy and versions."""
        entry = asdict(self.entry)
        return {
            "entry": {name: entry[name] for name in entry if name not in ("about", "role")},
            "arm": self.arm,
            "rates": list(self.rates),
            "seeds": self.entry.seeds(self.seeds, self.use),
            "given": self.given,
        }


@dataclass(frozen=True)
class FamilyTrial:
    """The policy on trainings of one spec of the family, for its average schedule."""

    spec: FamilySpec
    number: int
    policy: str
    lanes: int = SCHEDULE_LANES

    @property
    def name(self) -> str:
        """Path of its record."""
        return f"family/{self.number}-{self.spec.architecture}-{self.spec.optimizer}"

    @property
    def cost(self) -> float:
        """A rough guess of its seconds."""
        return 20.0 if self.spec.architecture == "finetune" else 5.0

    def describe(self) -> dict[str, Any]:
        """Return all that decides its result, but for policy and versions."""
        return {"spec": self.spec.to_dict(), "lanes": self.lanes, "rates": list(SCHEDULE_RATES)}


def baseline_cells(entry: MetaTestEntry, seeds: int, rates: tuple[float, ...]) -> list[Cell]:
    """Return the cells that need no policy."""
    tuning = [Cell(entry, arm, TUNING_SEEDS, rates, "tuning") for arm in TUNED]
    whole = [Cell(entry, arm, seeds, rates) for arm in BASELINES]
    stars = [
        Cell(entry, arm, seeds, (load_lr_star(entry.optimizer, _kind(entry) if apart else None),))
        for arm, apart in LR_STAR.items()
    ]
    return [*tuning, *whole, *stars]


def policy_cells(
    entry: MetaTestEntry, seeds: int, rates: tuple[float, ...], policy: str
) -> list[Cell]:
    """Return the cells that need the policy and nothing else."""
    few = tuple(rate for rate in rates if rate in CONTROL_RATES)
    seen = rates if entry.role == "overfitting" else few
    return [
        Cell(entry, "agent", seeds, rates, policy=policy),
        Cell(entry, "agent_validation", seeds, seen, policy=policy),
        Cell(entry, "cautious", seeds, (FREE_RATE,), policy=policy),
        *(
            Cell(entry, arm, seeds, few, policy=policy)
            for arm in ON_BASE
            if arm not in DEPENDENT
        ),
    ]  # fmt: skip


def dependent_cells(
    entry: MetaTestEntry, seeds: int, rates: tuple[float, ...], policy: str,
    agent: Mapping[str, Any], schedule: Mapping[str, Any],
) -> list[Cell]:  # fmt: skip
    """Return the controls made of the agent's record and of its average schedule."""
    few = tuple(rate for rate in rates if rate in CONTROL_RATES)
    held = [agent["mean_rates"][rates.index(rate)] for rate in few]
    return [
        Cell(entry, "mean_scales", seeds, few, policy=policy, given=held),
        Cell(entry, "replay", seeds, (FREE_RATE,), policy=policy, given=dict(schedule)),
    ]


def family_trials(policy: str, count: int = SCHEDULE_SPECS) -> list[FamilyTrial]:
    """Return the trials that the policy's average schedule is made of."""
    specs = family_specs(derive_seed(0, "replay") % 2**31, count)
    return [FamilyTrial(spec, number, policy) for number, spec in enumerate(specs)]


def same_kind(one: str, other: str) -> bool:
    """Return whether two optimizers are of one kind: Adam and its like, or the same."""
    return one == other or (one.startswith("adam") and other.startswith("adam"))


def run_job(job: Cell | FamilyTrial) -> dict[str, Any]:
    """Run a cell or a family trial; return its record of plain values."""
    began = time.process_time()
    if isinstance(job, FamilyTrial):
        return {"schedule": _schedule(job), "seconds": time.process_time() - began}
    trial = _run(job)
    record = {
        "rates": list(job.rates),
        "log_loss": log_losses(trial.loss, trial.initial_loss).tolist(),
        "diverged": trial.diverged.tolist(),
        "seconds": time.process_time() - began,
    }
    if job.arm == "agent":
        record["mean_rates"] = trial.mean_rates(job.entry.total_steps).tolist()
    return record


def _run(cell: Cell) -> Trial:
    settings, pilot = _arm(cell)
    seeds = cell.entry.seeds(cell.seeds, cell.use)
    return run_trial(cell.entry.task, settings, cell.rates, seeds, pilot)


def _arm(cell: Cell) -> tuple[StackSettings, Pilot]:
    """Return settings and pilot of the cell's arm."""
    settings, arm = cell.entry.settings(), cell.arm
    # Nobody decides: the fewest readings of the validation loss will do.
    alone = replace(settings, steps_per_action=cell.entry.total_steps)
    if arm in BASELINES or arm in LR_STAR:
        zero, schedule = Envelope(z_init="zero"), BASELINES.get(arm, "cosine")
        return replace(alone, envelope=zero, schedules=(schedule,)), hold
    if arm == "mean_scales":
        return replace(alone, envelope=WIDEST), held_rates(_mean_of_others(cell.given))
    if arm == "replay":
        cautious = replace(WIDEST, z_init="cautious")
        return replace(settings, envelope=cautious), replay(cell.given)
    policy = _policy(str(cell.policy))
    if arm == "cautious":
        return replace(alone, envelope=replace(policy.envelope, **_HOLDING)), hold
    seed = derive_seed(0, "meta-test control", cell.entry.name)
    pilots = {
        "agent": follow(policy),
        "agent_validation": follow(policy),
        "random": random_actions(seed),
        "one_action": one_action(policy),
        "shuffled": shuffled(policy, seed),
    }
    shown = 1.0 if arm == "agent_validation" else 0.0
    return replace(settings, envelope=policy.envelope, validation_seen=shown), pilots[arm]


_HOLDING: dict[str, Any] = {"mode": "incremental", "z_init": "cautious"}


def _mean_of_others(rates: Any) -> torch.Tensor:
    """Return each training's layer rates as the mean over the other seeds `[R * S, L]`."""
    own = torch.tensor(rates)
    others = (own.sum(1, keepdim=True) - own) / (own.shape[1] - 1)
    return others.flatten(0, 1)


def _schedule(job: FamilyTrial) -> dict[str, Any]:
    policy = _policy(job.policy)
    settings = StackSettings(
        optimizer=job.spec.optimizer, total_steps=SCHEDULE_STEPS, envelope=policy.envelope
    )
    count = max(1, job.lanes // len(SCHEDULE_RATES))
    seeds = [derive_seed(turn, "replay", job.number) % 2**31 for turn in range(count)]
    task = partial(FamilyTask, job.spec)
    trial = run_trial(task, settings, SCHEDULE_RATES, seeds, follow(policy))
    layers = group_layers(build_network(job.spec), task(0).is_pretrained)
    return summed_schedules(trial, layers, SCHEDULE_STEPS)


def _kind(entry: MetaTestEntry) -> str:
    return "finetuning" if entry.role == "finetuning" else "scratch"


@functools.cache
def _policy(policy: str) -> FrozenPolicy:
    return FrozenPolicy.load(policy)
