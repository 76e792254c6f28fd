"""A cell or a family trial of the meta-test, trained to the end of its budget."""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.engines import Report, silent
from experiments.meta_test.cells import (
    BASELINES,
    LR_STAR,
    SCHEDULE_RATES,
    Cell,
    FamilyTrial,
    MetaTestJob,
)
from experiments.meta_test.losses import log_losses
from experiments.policies import load_meant
from experiments.records import Record
from lr_env.action import Envelope
from lr_env.layers import group_layers
from lr_env.meta_test.controls import LayerByLayer, OneAction, RandomActions, Shuffled
from lr_env.meta_test.pilots import (
    follow,
    held_rates,
    hold,
    replay,
    summed_schedules,
)
from lr_env.meta_test.trial import Pilot, Trial, run_trial
from lr_env.policy import FrozenPolicy
from lr_env.randomness import derive_seed
from lr_env.stack import Stack, StackSettings
from lr_env.tasks.family import FamilyTask, build_network

WIDEST = Envelope(z_max=20.0, mode="residual", z_init="zero", ceiling=None)
SCHEDULE_STEPS = 300


def run_job(job: MetaTestJob, report: Report = silent) -> Record:
    """Run a cell or a family trial; return its record of plain values."""
    began = time.process_time()
    if isinstance(job, FamilyTrial):
        return {"schedule": _schedule(job, report), "seconds": time.process_time() - began}
    trial = _run(job, report)
    record = {
        "rates": list(job.rates),
        "log_loss": log_losses(trial.loss, trial.initial_loss).tolist(),
        "diverged": trial.diverged.tolist(),
        "seconds": time.process_time() - began,
    }
    if job.arm == "agent":
        record["mean_rates"] = trial.mean_rates(job.entry.total_steps).tolist()
    return record


def _run(cell: Cell, report: Report) -> Trial:
    settings, pilot = _arm(cell)
    seeds = cell.entry.seeds(cell.seeds, cell.use)
    pilot = _reporting(pilot, report, cell.entry.total_steps)
    return run_trial(cell.entry.task, settings, cell.rates, seeds, pilot)


def _reporting(pilot: Pilot, report: Report, total_steps: int) -> Pilot:
    """Return the pilot, made to report at every decision how far the trainings are."""

    def act(stack: Stack) -> Tensor:
        report(int(stack.steps.max()) / total_steps)
        return pilot(stack)

    return act


def _arm(cell: Cell) -> tuple[StackSettings, Pilot]:
    """Return settings and pilot of the cell's arm."""
    settings, arm = cell.entry.settings(), cell.arm
    # Nobody decides: the fewest readings of the validation loss will do.
    alone = replace(settings, steps_per_action=cell.entry.total_steps)
    if arm in BASELINES or arm in LR_STAR:
        zero, schedule = Envelope(z_init="zero"), BASELINES.get(arm, "cosine")
        return replace(alone, envelope=zero, schedules=(schedule,)), hold
    policy = _policy(str(cell.policy), cell.policy_digest)
    anywhere = replace(WIDEST, schedule=policy.envelope.schedule)
    if arm == "mean_scales":
        return replace(alone, envelope=anywhere), held_rates(_mean_of_others(cell.given))
    if arm == "replay":
        own = policy.envelope
        begun = replace(anywhere, z_init=own.z_init, ceiling=own.ceiling)
        return replace(settings, envelope=begun), replay(cell.given)
    if arm == "start":
        return replace(alone, envelope=replace(policy.envelope, mode="incremental")), hold
    seed = derive_seed(0, "meta-test control", cell.entry.name)
    acting = {
        "agent": policy,
        "agent_validation": policy,
        "random": RandomActions(policy, seed),
        "layer_by_layer": LayerByLayer(policy),
        "one_action": OneAction(policy),
        "shuffled": Shuffled(policy, seed),
    }[arm]
    shown = 1.0 if arm == "agent_validation" else 0.0
    return replace(settings, envelope=acting.envelope, validation_seen=shown), follow(acting)


def _mean_of_others(rates: Any) -> Tensor:
    """Return each training's layer rates as the mean over the other seeds `[R * S, L]`."""
    own = torch.tensor(rates)
    others = (own.sum(1, keepdim=True) - own) / (own.shape[1] - 1)
    return others.flatten(0, 1)


def _schedule(job: FamilyTrial, report: Report) -> dict[str, Any]:
    policy = _policy(job.policy, job.policy_digest)
    settings = StackSettings(
        optimizer=job.spec.optimizer, total_steps=SCHEDULE_STEPS, envelope=policy.envelope
    )
    count = max(1, job.lanes // len(SCHEDULE_RATES))
    seeds = [derive_seed(turn, "replay", job.number) % 2**31 for turn in range(count)]
    task = partial(FamilyTask, job.spec)
    pilot = _reporting(follow(policy), report, SCHEDULE_STEPS)
    trial = run_trial(task, settings, SCHEDULE_RATES, seeds, pilot)
    layers = group_layers(build_network(job.spec), task(0).is_pretrained)
    return summed_schedules(trial, layers, SCHEDULE_STEPS)


@functools.cache
def _policy(policy: str, wanted: str | None) -> FrozenPolicy:
    return load_meant(policy, wanted)
