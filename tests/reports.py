"""Records of runs that never were, and the summary made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from experiments.about import about_policy
from experiments.arms import parse_arms
from experiments.summary import summarise
from lr_env.policy import FrozenPolicy
from lr_env.provenance import describe_run
from tests.toys import ToyTask

SEEDS = 5
Record = dict[str, Any]


def record(arm: str, seed: int, accuracy: float, loss: float | None, target_at: int) -> Record:
    """A run that reaches an accuracy of 0.9 at the reading numbered `target_at`."""
    points = [
        {"epochs": i / 2, "train_loss": 1 / i, "loss": loss and loss + 1 / i,
         "accuracy": 0.9 if i >= target_at else 0.5}
        for i in range(1, 21)
    ]  # fmt: skip
    rates = {
        "layers": ["embed<b>", "head"], "steps": [0, 5], "rates": [[1e-3, 1e-2], [1e-4, 0.0]],
    }  # fmt: skip
    return {
        "arm": arm, "seed": seed, "diverged_at_step": None if loss is not None else 17,
        "total_steps": 40, "points": points if loss is not None else points[:2],
        "test": {"accuracy": accuracy, "loss": loss, "f1": 0.5}, "seconds": 2.0,
        "controller_seconds": 0.5 if arm.startswith("agent") else 0.0,
        "samples_per_second": 100.0 if arm.startswith("agent") else 300.0,
        "learning_rates": rates if arm.startswith("agent") else None,
    }  # fmt: skip


class Toy(ToyTask):
    target_accuracy = 0.9
    overlapping_splits = True


def make(
    policy: FrozenPolicy | None,
    own: Callable[[str, int], Record],
    arms: str = "adam agent",
    counts: Mapping[str, int] | None = None,
) -> tuple[dict[str, Any], dict[str, list[Record]]]:
    parsed = [arm.at(0.003) if arm.tuned else arm for arm in parse_arms(arms)]
    seeds = {arm.name: (counts or {}).get(arm.name, SEEDS) for arm in parsed}
    records = {name: [own(name, seed) for seed in range(count)] for name, count in seeds.items()}
    task = Toy()
    tuned = {
        arm.name: {
            "trials_of": "adam-cosine", "trials": 9, "seeds": [1000], "seconds": 77.0,
            "chosen": arm.lr, "at_edge": False,
            "table": [{"lr": 0.001, "accuracy": 0.5, "loss": 1.0, "diverged": 0},
                      {"lr": arm.lr, "accuracy": 0.8, "loss": 0.6, "diverged": 0}],
        }
        for arm in parsed if arm.tuned
    }  # fmt: skip
    summary = {
        "scale": "quick",
        "recipe": "plan",
        "device": "cpu",
        "tuning": tuned,
        "task": {"name": "toy", "sizes": task.describe()["sizes"], "epochs": 10, "batch_size": 16},
        "seeds": SEEDS,
        "policy": about_policy(policy, "toy") if policy else None,
        "provenance": describe_run({}),
        "date": "2026-11-24",
        **summarise(parsed, records, task),
    }
    return summary, records


def agent_ahead(arm: str, seed: int) -> Record:
    gain = 0.1 if arm == "agent" else 0.0
    return record(arm, seed, 0.8 + 0.01 * seed + gain + 0.001 * (seed % 2) * gain, 0.4, 4)


def agent_behind(arm: str, seed: int) -> Record:
    agent = arm == "agent"
    return record(
        arm, seed, 0.8 - 0.02 * agent * (seed % 3 - 0.5), 0.4 + (0.2 + 0.01 * seed) * agent,
        9 if agent else 4,
    )  # fmt: skip
