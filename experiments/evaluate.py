"""`python -m experiments.evaluate`: a frozen policy against baselines, on paired seeds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from experiments.about import about_policy
from experiments.arms import Arm
from experiments.config import EvaluateConfig
from experiments.engines import Engine, open_engine
from experiments.grid import complete
from experiments.plan import Plan, make_plan
from experiments.recipes import run_recipe
from experiments.report import print_table, write_report
from experiments.runs import RunSpec
from experiments.summary import summarise
from experiments.tuning import choose_rates, trial_specs
from lr_env import files
from lr_env.command_line import run_command
from lr_env.provenance import describe_run


def evaluate(config: EvaluateConfig) -> dict[str, dict[str, Any]]:
    """Evaluate every task of `config`; return the summaries by task."""
    names = ", ".join(own.task for own in config.by_task)
    Console().print(f"Preparing {names}: data are decoded once and kept.", highlight=False)
    # Whatever is wrong with any of them is said before the first run.
    plans = [make_plan(own) for own in config.by_task]
    with open_engine(config.engine, config.workers) as engine:
        return {plan.config.task: evaluate_task(plan, engine) for plan in plans}


def evaluate_task(plan: Plan, engine: Engine) -> dict[str, Any]:
    """Run what is missing of one task's grid, write its report and return its summary."""
    console = Console()
    config = plan.config
    plan = replace(plan, device=engine.device)
    folder = files.ensure_folder(config.folder)
    provenance = describe_run(config.to_dict())
    files.write_json(folder / "run.json", provenance)
    trials = trial_specs(config.parsed_arms, config.resolved_scale, plan.trial)
    arms, tuning = _tune(plan, trials, engine, console)
    seeds = config.seeds_by_arm
    specs = [
        plan.spec(arm, seed)
        for seed in range(max(seeds.values()))
        for arm in arms
        if seed < seeds[arm.name]
    ]
    records = complete(specs, run_recipe, plan.file, engine, console, plan.title)
    by_arm = {
        arm.name: [record for spec, record in records.items() if spec.arm == arm.settled]
        for arm in arms
    }
    summary = {
        "task": plan.about,
        "scale": config.resolved_scale,
        "recipe": config.recipe,
        "device": engine.device,
        "seeds": max(seeds.values()),
        "policy": about_policy(plan.policy, config.task) if plan.policy else None,
        "tuning": tuning,
        "provenance": provenance,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "records": {
            f"{file.folder.name}/{file.name}": file.fingerprint
            for file in map(plan.file, [*trials, *specs])
        },
        **summarise(arms, by_arm, plan.task),
    }
    write_report(folder, summary, by_arm)
    print_table(summary, console)
    console.print(f"Report: {folder / 'report.html'}", soft_wrap=True)
    return summary


def _tune(
    plan: Plan, trials: list[RunSpec], engine: Engine, console: Console
) -> tuple[list[Arm], dict[str, Any]]:
    """Return the arms, those that are tuned with the rates that their trials chose."""
    arms, scale = plan.config.parsed_arms, plan.config.resolved_scale
    if not trials:
        return arms, {}
    records = complete(trials, run_recipe, plan.file, engine, console, f"{plan.title}, tuning")
    return choose_rates(arms, scale, records)


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
