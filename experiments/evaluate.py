"""`python -m experiments.evaluate`: a frozen policy against baselines, on paired seeds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from experiments.about import about_policy
from experiments.config import EvaluateConfig
from experiments.grid import run_all
from experiments.records import Records, fingerprint
from experiments.report import print_table, write_report
from experiments.summary import summarise
from experiments.training import RunSpec
from lr_env import files
from lr_env.command_line import run_command
from lr_env.errors import InvalidArgumentError
from lr_env.policy import FrozenPolicy
from lr_env.provenance import describe_run
from lr_env.tasks import SPLITS, Task, make_task


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Run what is missing of the grid, write the report and return the summary."""
    console = Console()
    task = make_task(config.task, seed=0, **config.task_arguments)
    policy = _policy(config)
    specs = _specs(config, task, policy)
    folder = files.ensure_folder(config.out / config.task)
    records = Records(folder / "records")
    provenance = describe_run(config.to_dict())
    files.write_json(folder / "run.json", provenance)
    about_task = _about_task(task, specs[0])
    by_arm = _run_missing(specs, records, about_task, policy, config, console)
    summary = {
        "task": about_task,
        "seeds": config.seeds,
        "policy": about_policy(policy, config.task) if policy else None,
        "provenance": provenance,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        **summarise(config.parsed_arms, by_arm, task),
    }
    write_report(folder, summary, by_arm)
    print_table(summary, console)
    console.print(f"Report: {folder / 'report.html'}", soft_wrap=True)
    return summary


def _run_missing(
    specs: list[RunSpec],
    records: Records,
    about_task: dict[str, Any],
    policy: FrozenPolicy | None,
    config: EvaluateConfig,
    console: Console,
) -> dict[str, list[dict[str, Any]]]:
    """Return every arm's records in the order of seeds, run now or found."""
    prints = {spec: fingerprint(spec, about_task, policy) for spec in specs}
    done = {spec: records.load(spec, own) for spec, own in prints.items()}
    missing = [spec for spec, record in done.items() if record is None]
    console.print(
        f"{config.task}: {len(specs)} runs, {len(specs) - len(missing)} of them done before.",
        highlight=False,
    )

    def save(spec: RunSpec, record: dict[str, Any]) -> None:
        records.save(spec, prints[spec], record)
        done[spec] = record

    run_all(missing, save, config.workers, console)
    return {
        arm.name: [record for spec, record in done.items() if record and spec.arm == arm]
        for arm in config.parsed_arms
    }


def _about_task(task: Task, spec: RunSpec) -> dict[str, Any]:
    """Return the task's description without its seed, and the budget."""
    return {
        **{name: value for name, value in task.describe().items() if name != "seed"},
        "name": spec.task,
        "sizes": {split: task.size(split) for split in SPLITS},
        "epochs": spec.epochs,
        "batch_size": spec.batch_size,
    }


def _policy(config: EvaluateConfig) -> FrozenPolicy | None:
    """Return the policy if an arm needs one; broken ones are refused before any run begins."""
    return FrozenPolicy.load(config.policy) if any(a.is_agent for a in config.parsed_arms) else None


def _specs(config: EvaluateConfig, task: Task, policy: FrozenPolicy | None) -> list[RunSpec]:
    batch_size = config.batch_size or task.batch_size
    if batch_size > task.size("train"):
        raise InvalidArgumentError(
            f"batch_size {batch_size} is larger than the training split ({task.size('train')})."
        )
    return [
        RunSpec(
            task=config.task,
            task_arguments=config.task_arguments,
            seed=seed,
            arm=arm,
            policy=config.policy if arm.is_agent else None,
            epochs=config.epochs or task.epochs,
            batch_size=batch_size,
            policy_sha256=policy.card["weights_sha256"] if policy and arm.is_agent else None,
        )
        for seed in range(config.seeds)
        for arm in config.parsed_arms
    ]


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        EvaluateConfig,
        evaluate,
        "python -m experiments.evaluate",
        "finished runs are kept: the same command goes on with the others.",
    )


if __name__ == "__main__":
    raise SystemExit(main())
