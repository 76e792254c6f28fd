"""`python -m experiments.evaluate`: a frozen policy against baselines, on paired seeds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console

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
from lr_env.tasks import Task, make_task


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Run what is missing of the grid, write the report and return the summary."""
    console = Console()
    task = make_task(config.task, seed=0, **config.task_arguments)
    policy = _policy(config)
    folder = files.ensure_folder(config.out / config.task)
    records = Records(folder / "records")
    provenance = describe_run(config.to_dict())
    files.write_json(folder / "run.json", provenance)
    specs = _specs(config, task)
    description = {name: value for name, value in task.describe().items() if name != "seed"}
    prints = {_key(spec): fingerprint(spec, description, policy) for spec in specs}
    done = {_key(spec): records.load(spec, prints[_key(spec)]) for spec in specs}
    missing = [spec for spec in specs if done[_key(spec)] is None]
    console.print(
        f"{config.task}: {len(specs)} runs, {len(specs) - len(missing)} of them done before.",
        highlight=False,
    )

    def save(spec: RunSpec, record: dict[str, Any]) -> None:
        records.save(spec, prints[_key(spec)], record)
        done[_key(spec)] = record

    run_all(missing, save, config.workers, console)
    arms = config.parsed_arms
    by_arm = {
        arm.name: [done[_key(spec)] or {} for spec in specs if spec.arm == arm] for arm in arms
    }
    summary = {
        "task": {**description, "epochs": specs[0].epochs, "batch_size": specs[0].batch_size},
        "seeds": config.seeds,
        "policy": _about(policy),
        "provenance": provenance,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        **summarise(arms, by_arm, task),
    }
    write_report(folder, summary, by_arm)
    print_table(summary, console)
    console.print(f"Report: {folder / 'report.html'}", soft_wrap=True)
    return summary


def _policy(config: EvaluateConfig) -> FrozenPolicy | None:
    """Return the policy if an arm needs one; broken ones are refused before any run begins."""
    return FrozenPolicy.load(config.policy) if any(a.is_agent for a in config.parsed_arms) else None


def _specs(config: EvaluateConfig, task: Task) -> list[RunSpec]:
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
        )
        for seed in range(config.seeds)
        for arm in config.parsed_arms
    ]


def _key(spec: RunSpec) -> tuple[str, int]:
    return spec.arm.name, spec.seed


def _about(policy: FrozenPolicy | None) -> dict[str, Any] | None:
    """Return what the report says of the policy, from its card."""
    if policy is None:
        return None
    config = policy.card.get("config", {})
    trained = policy.card.get("trained", {})
    return {
        "name": policy.name,
        "sha256": policy.card["weights_sha256"],
        "algorithm": config.get("algo", "unknown"),
        "seed": config.get("seed", "unknown"),
        "slot_decisions": trained.get("slot_decisions"),
        "seconds": trained.get("seconds"),
        "kinds": sorted({t["spec"]["architecture"] for t in policy.card.get("tasks", [])}),
    }


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
