"""Cells of the meta-test: one arm on one entry, from all of its base rates, with all seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from experiments.arms.lr_star import lr_star
from experiments.policies import behaviour
from experiments.records import digest
from lr_env.action import Envelope
from lr_env.meta_test import SUITE_VERSION, MetaTestEntry
from lr_env.meta_test.models import parameters_of
from lr_env.meta_test.suite import CONTROL_RATES, TUNING_SEEDS
from lr_env.policy import FrozenPolicy
from lr_env.provenance import package_versions
from lr_env.randomness import derive_seed
from lr_env.tasks.family import FamilySpec, family_specs

FORMAT = 2
"""Of the records; another one makes all that was finished before be run again."""

Use = Literal["report", "tuning"]
BASELINES = {"fixed": "constant", "cosine": "cosine", "linear": "linear"}
TUNED = ("cosine", "linear")
LR_STAR = {"lr_star": False, "lr_star_kind": True}
"""Arms that go to lr*, and whether it is that of the kind of training."""
FREE = ("start", "replay")
ON_BASE = ("random", "layer_by_layer", "one_action", "shuffled", "mean_scales")
"""Of `layer_by_layer` and `one_action`, a policy has the one that it is not itself."""
DEPENDENT = ("mean_scales", "replay")
"""Controls that need what another job found out."""
OF_A_POLICY = ("agent", "agent_validation", *FREE, *ON_BASE)
"""All arms but the baselines; the agent itself is always run."""
FREE_RATE = 1e-3
"""Base rate of arms whose rates do not depend on it, as of the two in `FREE` under envelopes that
reach the same start from every base rate."""
SCHEDULE_SPECS, SCHEDULE_LANES = 10, 8
SCHEDULE_RATES = (1e-5, 1e-4, 1e-3, 1e-2)


@dataclass(frozen=True)
class Cell:
    """One arm on one entry.

    Attributes:
        entry, arm: what.
        seeds: which of the paired seeds.
        rates: base rates.
        use: whether the seeds are those that are reported or those of tuning.
        policy: name or folder, for arms that need one.
        policy_digest: what it has to do; nothing is checked if None.
        given: what a dependent control needs: log2 rates `[R][S][L]` or a schedule.
    """

    entry: MetaTestEntry
    arm: str
    seeds: range
    rates: tuple[float, ...]
    use: Use = "report"
    policy: str | None = None
    given: Any = field(default=None, hash=False)
    policy_digest: str | None = None

    @property
    def name(self) -> str:
        """Path of the cell's record."""
        return f"{self.entry.name}/{self.arm}{'-tuning' if self.use == 'tuning' else ''}"

    @property
    def title(self) -> str:
        """What an error calls it."""
        return f"arm {self.arm} on entry {self.entry.name}"

    @property
    def cost(self) -> float:
        """A rough guess of its seconds."""
        spec = self.entry.spec
        places = {"transformer": 3 * spec.size, "pooled_cnn": 192, "averaged_cnn": 192}
        numbers = parameters_of(spec) * spec.batch_size * places.get(spec.network, 1)
        step = 5e-5 + 3e-10 * numbers
        deciding = 1.0 if self.arm in (*BASELINES, *LR_STAR, "mean_scales") else 1.3
        return len(self.rates) * len(self.seeds) * self.entry.total_steps * step * deciding

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
    policy_digest: str | None = None

    @property
    def name(self) -> str:
        """Path of its record."""
        return f"family/{self.number}-{self.spec.architecture}-{self.spec.optimizer}"

    @property
    def title(self) -> str:
        """What an error calls it."""
        return f"trial {self.name} of policy {self.policy}"

    @property
    def cost(self) -> float:
        """A rough guess of its seconds."""
        return 20.0 if self.spec.architecture == "finetune" else 5.0

    def describe(self) -> dict[str, Any]:
        """Return all that decides its result, but for policy and versions."""
        return {"spec": self.spec.to_dict(), "lanes": self.lanes, "rates": list(SCHEDULE_RATES)}


MetaTestJob = Cell | FamilyTrial


def fingerprint(job: MetaTestJob, policy: FrozenPolicy | None) -> str:
    """Return the hash of all that decides a job's result; baselines have no policy."""
    return digest(
        {
            "format": FORMAT,
            "suite": SUITE_VERSION,
            "versions": package_versions(("lr-env", "torch", "numpy")),
            "job": job.describe(),
            "policy": behaviour(policy, pretrained=True, shares=True),
        }
    )


def baseline_cells(entry: MetaTestEntry, seeds: range, rates: tuple[float, ...]) -> list[Cell]:
    """Return the cells that need no policy."""
    tuning = [Cell(entry, arm, range(TUNING_SEEDS), rates, "tuning") for arm in TUNED]
    whole = [Cell(entry, arm, seeds, rates) for arm in BASELINES]
    stars = [
        Cell(entry, arm, seeds, (lr_star(_kind(entry) if apart else "all", entry.optimizer).lr,))
        for arm, apart in LR_STAR.items()
    ]
    return [*tuning, *whole, *stars]


def policy_cells(
    entry: MetaTestEntry, seeds: range, rates: tuple[float, ...], policy: str, envelope: Envelope
) -> list[Cell]:
    """Return the cells that need the policy, whose envelope is given, and nothing else."""
    left_out = (*DEPENDENT, "one_action" if envelope.shared else "layer_by_layer")
    few = tuple(rate for rate in rates if rate in CONTROL_RATES)
    seen = rates if entry.role == "overfitting" else few
    return [
        Cell(entry, "agent", seeds, rates, policy=policy),
        Cell(entry, "agent_validation", seeds, seen, policy=policy),
        Cell(entry, "start", seeds, _rates_of_starts(envelope, rates), policy=policy),
        *(
            Cell(entry, arm, seeds, few, policy=policy)
            for arm in ON_BASE
            if arm not in left_out
        ),
    ]  # fmt: skip


def dependent_cells(
    entry: MetaTestEntry, seeds: range, rates: tuple[float, ...], policy: str, envelope: Envelope,
    agent: Mapping[str, Any], schedule: Mapping[str, Any],
) -> list[Cell]:  # fmt: skip
    """Return the controls made of the agent's record and of its average schedule."""
    few = tuple(rate for rate in rates if rate in CONTROL_RATES)
    held = [agent["mean_rates"][rates.index(rate)] for rate in few]
    return [
        Cell(entry, "mean_scales", seeds, few, policy=policy, given=held),
        Cell(
            entry, "replay", seeds, _rates_of_starts(envelope, rates), policy=policy,
            given=dict(schedule),
        ),
    ]  # fmt: skip


def _rates_of_starts(envelope: Envelope, rates: tuple[float, ...]) -> tuple[float, ...]:
    """Return the base rates that what begins at the policy's start has to be run from.

    One, where the start is the same from all of them: it is found by looking at the network, and
    the envelope is as wide as they are apart.
    """
    apart = math.log2(max(rates) / min(rates))
    if envelope.z_init != "zero" and envelope.z_max >= apart:
        return (FREE_RATE,)
    return tuple(rate for rate in rates if rate in CONTROL_RATES)


def family_trials(policy: str, count: int = SCHEDULE_SPECS) -> list[FamilyTrial]:
    """Return the trials that the policy's average schedule is made of: the family's own specs.

    What meta-training redraws of them (samples, intervals, memorised data) is not in these.
    """
    specs = family_specs(derive_seed(0, "replay") % 2**31, count)
    return [FamilyTrial(spec, number, policy) for number, spec in enumerate(specs)]


def same_kind(one: str, other: str) -> bool:
    """Return whether two optimizers are of one kind: Adam and its like, or the same."""
    return one == other or (one.startswith("adam") and other.startswith("adam"))


def _kind(entry: MetaTestEntry) -> str:
    return "finetuning" if entry.role == "finetuning" else "scratch"
