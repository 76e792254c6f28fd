"""The plan of one task's evaluation: its instance, its policy, what each run is and its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import nn

from experiments.arms import Arm, build_optimizer
from experiments.arms.names import own_rate
from experiments.arms.optimizers import import_library
from experiments.config import EvaluateConfig
from experiments.defaults import default_budget
from experiments.policies import policy_digest, shares_actions
from experiments.records import RecordFile
from experiments.runs import RunSpec, fingerprint
from experiments.surroundings import surroundings
from lr_env.errors import InvalidArgumentError
from lr_env.policy import FrozenPolicy
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.tasks import SPLITS, Task, make_task


@dataclass(frozen=True)
class Plan:
    """One task to be evaluated.

    Attributes:
        task: the instance of seed 0, for all that does not depend on the seed.
        policy: None where no arm needs one.
        shares: whether several layers of the task's model share the policy's actions.
        device: kind of device that the runs compute on.
    """

    config: EvaluateConfig
    task: Task
    policy: FrozenPolicy | None
    shares: bool = False
    device: str = "cpu"

    @property
    def title(self) -> str:
        """Task and scale, for what is said while the runs go."""
        return f"{self.config.task}, scale {self.config.resolved_scale}"

    @property
    def about(self) -> dict[str, Any]:
        """The task's description without its seed, and the budget."""
        described = {k: v for k, v in self._description.items() if k != "seed"}
        return {
            **described,
            "name": self.config.task,
            "sizes": {split: self.task.size(split) for split in SPLITS},
            "epochs": self.epochs,
            "batch_size": self.batch_size,
        }

    @cached_property
    def _description(self) -> dict[str, Any]:
        # Made once: some tasks hash files for it.
        return self.task.describe()

    @property
    def epochs(self) -> int:
        """Passes over the training data."""
        return self.config.epochs or self._own_budget[0]

    @property
    def batch_size(self) -> int:
        """Mini-batch size."""
        return self.config.batch_size or self._own_budget[1]

    @property
    def _own_budget(self) -> tuple[int, int]:
        return default_budget(self.config.recipe, self.task.epochs, self.task.batch_size)

    def spec(self, arm: Arm, seed: int) -> RunSpec:
        """Return the run of `arm` with `seed`."""
        config = self.config
        spec = RunSpec(
            task=config.task,
            task_arguments=config.task_arguments,
            seed=seed,
            arm=arm.settled,
            policy=config.policy if arm.has_policy else None,
            epochs=self.epochs,
            batch_size=self.batch_size,
            policy_digest=policy_digest(self.policy) if self.policy and arm.has_policy else None,
            device=self.device,
            recipe=config.recipe,
            scale=config.resolved_scale,
        )
        return replace(spec, expects=surroundings(spec, self._description))

    def trial(self, arm: Arm, seed: int) -> RunSpec:
        """Return a tuning trial, which never reads test data."""
        return replace(self.spec(arm, seed), read_test=False)

    def file(self, spec: RunSpec) -> RecordFile:
        """Return the file of a run's record; trials have a folder of their own."""
        folder = self.config.folder / ("records" if spec.read_test else "tuning")
        # A task that says nothing of pretrained weights has none.
        pretrained = type(self.task).is_pretrained is not Task.is_pretrained
        own = fingerprint(spec, self.about, self.policy, pretrained, self.shares)
        return RecordFile(folder, spec.name, own)


def _checked_model(config: EvaluateConfig, task: Task) -> nn.Module:
    """Return the task's model; refuse arms that cannot train it, and one that cannot be built."""
    with IsolatedTorchRandomness(task.seed, "fit").use():
        model = task.build_model()
    if config.recipe != "plan":
        return model
    for name in dict.fromkeys(arm.method_name for arm in config.parsed_arms):
        build_optimizer(Arm(name, own_rate(name)), model, total_steps=2)
    return model


def make_plan(config: EvaluateConfig) -> Plan:
    """Return the plan; whatever cannot be used is refused before any run begins.

    Raises:
        LrEnvError: data, model, policy, arms or arguments that cannot be used.
    """
    task = make_task(config.task, seed=0, **config.task_arguments)
    for arm in config.parsed_arms:
        if arm.method.package is not None:
            import_library(arm)
    model = _checked_model(config, task)
    needed = any(arm.has_policy for arm in config.parsed_arms)
    policy = FrozenPolicy.load(config.policy) if needed else None
    shares = policy is not None and shares_actions(policy, model, task.is_pretrained)
    plan = Plan(config, task, policy, shares)
    if plan.batch_size > task.size("train"):
        raise InvalidArgumentError(
            f"batch_size {plan.batch_size} is larger than the training split "
            f"({task.size('train')})."
        )
    return plan
