"""What one run of an evaluation is, and the hash of all that decides its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from experiments.arms import Arm
from experiments.defaults import TRAINER_BATCH
from experiments.policies import behaviour, load_meant
from experiments.records import digest
from lr_env.controller import LRController
from lr_env.policy import FrozenPolicy
from lr_env.provenance import package_versions

POINTS = 20
"""Readings of the validation data in every run, at equal distances of the budget."""

FORMAT = 4
"""Of the records; another one makes all that was finished before be run again. Whoever changes what
a run comes to raises it: tests/test_experiments_outcomes.py tells."""

PACKAGES = ("lr-env", "torch", "numpy", "scikit-learn", "torchvision", "transformers", "accelerate")
"""Whose versions may decide what a run comes to."""
PLACES = {"data": "hash", "model": "model_hash"}
"""Arguments of tasks that say where something lies, and what descriptions have of its contents."""


@dataclass(frozen=True)
class RunSpec:
    """What one run is; workers rebuild everything from it.

    Attributes:
        policy_digest: what `policy` has to do; nothing is checked if None.
        device: kind of device that it computes on.
        recipe: `plan`, or `hf-warmup` for Hugging Face's Trainer.
        scale: of the budget; what a recipe does may depend on it.
        read_test: whether test data is read at the end; a tuning trial never reads it.
        expects: what it is to be computed on (`experiments.surroundings`); nothing is checked if
            None.
    """

    task: str
    task_arguments: Mapping[str, Any] = field(hash=False)
    seed: int
    arm: Arm
    policy: str | None
    epochs: int
    batch_size: int
    policy_digest: str | None = None
    device: str = "cpu"
    recipe: str = "plan"
    scale: str = "quick"
    read_test: bool = True
    expects: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def name(self) -> str:
        """Name of the run's record."""
        return f"{self.arm.name}-seed{self.seed}"

    @property
    def title(self) -> str:
        """What an error calls the run."""
        return f"arm {self.arm.name} with seed {self.seed}"

    @property
    def cost(self) -> float:
        """All runs of a task count as equally long."""
        return 1.0


def fingerprint(
    spec: RunSpec,
    task: Mapping[str, Any],
    policy: FrozenPolicy | None,
    pretrained: bool = False,
    shares: bool = False,
) -> str:
    """Return the hash of all that decides a run's result.

    `task`: the task's description without its seed, and the budget. `pretrained`: whether it begins
    with pretrained weights. `shares`: whether several of its layers share the policy's actions;
    in controls none do.
    """
    return digest(
        {
            "format": FORMAT,
            "versions": versions_of(spec),
            # Where data and weights lie is no part of a result.
            "task": {name: value for name, value in task.items() if name != "source"},
            "arguments": {
                name: value
                for name, value in spec.task_arguments.items()
                if PLACES.get(name) not in task
            },
            "seed": spec.seed,
            "run": [spec.device, spec.recipe, spec.scale, spec.read_test, *_amended(spec)],
            "arm": [spec.arm.method_name, spec.arm.lr, spec.arm.method.to_dict()],
            "policy": behaviour(
                policy if spec.arm.has_policy else None, pretrained, shares and spec.arm.is_agent
            ),
        }
    )


def _amended(spec: RunSpec) -> list[str]:
    """Return what sets runs apart from those that were made before a change of a few."""
    changed = spec.recipe == "hf-warmup" and spec.batch_size != TRAINER_BATCH
    return ["warm-up by batch"] if changed else []


def versions_of(spec: RunSpec) -> dict[str, str]:
    """Return the versions of the packages that decide what the run comes to, as installed here."""
    library = spec.arm.method.package
    versions = package_versions((*PACKAGES, *([library] if library else [])))
    return {**versions, "torch": torch_version(spec.device)}


def torch_version(device: str) -> str:
    """Return torch's version; without its build on a CPU, where all of them compute alike."""
    known = version("torch")
    return known.partition("+")[0] if device == "cpu" else known


def load_policy(spec: RunSpec) -> FrozenPolicy | None:
    """Return the run's policy. Raises PolicyError if it is not the one that was meant."""
    if spec.policy is None:
        return None
    return load_meant(spec.policy, spec.policy_digest)


def reading_steps(total_steps: int) -> set[int]:
    """Return the steps after which validation data is read."""
    return {math.ceil(total_steps * (index + 1) / POINTS) for index in range(POINTS)}


def finite(value: float) -> float | None:
    """Return the number; None in place of one that is not finite, which JSON cannot hold."""
    return float(value) if math.isfinite(value) else None


def rates_of(controller: LRController) -> dict[str, Any]:
    """Return the rates of every layer at every decision, and its base rate."""
    return {
        "layers": [layer.name for layer in controller.layers],
        "steps": [decision.step for decision in controller.history],
        "rates": [list(decision.learning_rates) for decision in controller.history],
        "base": [decision.base_lr for decision in controller.history],
    }
