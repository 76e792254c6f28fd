"""What runs come to. Records are reused by their settings, so that code may not change it unsaid.

Where one of these numbers moves by more than rounding does, on purpose, raise `FORMAT` in
experiments/runs.py: records made before are then made anew. This file, run as a module, prints the
numbers of today's code.
"""

from __future__ import annotations

import pytest

from experiments.arms import parse_arms
from experiments.runs import FORMAT, RunSpec
from experiments.training import run
from lr_env.policy import DEFAULT_POLICY, FrozenPolicy

OF_FORMAT = 4
LOSSES = {
    "adam": 2.06947,
    "adam-cosine": 2.21948,
    "adam-linear": 2.21576,
    "adam-onecycle": 2.23612,
    "adam-wsd": 2.11149,
    "adam-greedy": 2.05243,
    "adam-hd": 2.06468,
    "schedule-free": 1.88466,
    "prodigy": 0.43682,
    "lr-star": 0.37911,
    "start": 0.25470,
    "layer-by-layer": 0.32770,
    "agent": 0.29777,
    "agent@1e-5": 0.29570,
    "agent-narrow": 2.07556,
}
"""Validation loss after an epoch of digits, seed 0, by arm."""


def outcome(name: str) -> float:
    (arm,) = parse_arms(name)
    spec = RunSpec(
        task="digits", task_arguments={}, seed=0, arm=arm, epochs=1, batch_size=32,
        policy=DEFAULT_POLICY if arm.has_policy else None,
    )  # fmt: skip
    return float(run(spec)["points"][-1]["loss"])


@pytest.mark.parametrize("arm", LOSSES)
def test_runs_come_to_what_their_format_says(arm: str) -> None:
    assert FORMAT == OF_FORMAT
    assert outcome(arm) == pytest.approx(LOSSES[arm], rel=2e-3)


def test_the_policy_is_the_one_that_the_numbers_are_of() -> None:
    card = FrozenPolicy.load(DEFAULT_POLICY).card
    assert card["weights_sha256"].startswith("0936be10")
    assert card["shared"]


if __name__ == "__main__":
    for own in LOSSES:
        print(f'    "{own}": {outcome(own):.5f},')
