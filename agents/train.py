"""`python -m agents.train`: meta-train an agent and export it as a frozen policy."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from rich.console import Console
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger, make_output_format

from agents.algorithms import build_algorithm
from agents.checkpoint import load_checkpoint
from agents.config import DEVELOPED_ON, TrainConfig
from agents.curriculum import plan_stacks
from agents.features import seen_features
from agents.held_out import HeldOut
from agents.monitor import Monitor, save_best
from agents.renewal import Renewal
from agents.report import report as set_beside_rivals
from agents.run_folder import RunFolder
from agents.slots import SlotVecEnv
from agents.warm_start import warm_start
from agents.workers import Workers
from lr_env import files
from lr_env.command_line import run_command
from lr_env.errors import InvalidArgumentError
from lr_env.policy import FrozenPolicy
from lr_env.provenance import code_revision, command_line

_MAY_DIFFER = ("resume", "steps", "minutes", "out", "workers")
"""What a run that goes on may be told anew."""


def train(given: TrainConfig, report: bool = True) -> FrozenPolicy:
    """Run one meta-training, or go on with one; return the best policy, as exported.

    `report`: whether it is set beside its rivals at the end, on its card.
    """
    began = time.monotonic()
    console = Console()
    config, folder = _open(given)
    plans = plan_stacks(config)
    # A fixed number, since sums over threads are rounded in another order; the networks are so
    # small that a second thread costs more in waiting than it computes.
    torch.set_num_threads(1)
    workers = Workers(plans, config.workers)
    try:
        discrete = config.algo == "dqn"
        env = SlotVecEnv(
            workers,
            plans,
            discrete,
            # PPO's advantages are relative; Q learns from rewards alone.
            relative=discrete and config.twins > 1,
            gamma=config.resolved_gamma,
            seen=seen_features(config.features_off),
        )
        model = build_algorithm(config, env)
        _say_budget(config, model, console)
        # Not before: RESUME=latest would find a run that was refused.
        folder = folder or RunFolder.create(config, plans)
        console.print(f"Run folder: {folder.path}", soft_wrap=True)
        console.print(f"To go on after an interruption: RESUME={folder.path}", soft_wrap=True)
        about = {
            "config": config.to_dict(),
            "command": command_line(),
            "revision": code_revision(),
            "tasks": [plan.describe() for plan in plans],
            "developed_on": list(DEVELOPED_ON),
        }
        renewal = Renewal(config, env, model)
        monitor = Monitor(config, folder, env, renewal, console, about, began)
        if given.resume is not None and folder.checkpoint.exists():
            load_checkpoint(folder.checkpoint, model, env, renewal, monitor.restore)
        else:
            warm_start(config, model, workers, folder, console, began)
        model.set_logger(_logger(folder))
        try:
            model.learn(
                max(config.budget - model.num_timesteps, 0),
                callback=monitor,
                log_interval=1 if config.algo == "ppo" else None,  # type: ignore[arg-type]
                reset_num_timesteps=False,
            )
        finally:
            monitor.stop()
        console.print("The last policy is scored on the trainings that pick.")
        held_out = HeldOut(workers)
        policy = _finish(monitor, folder, held_out)
        if report:
            console.print(
                "The best one is set beside its rivals, on trainings that picked nothing."
            )
            policy = set_beside_rivals(policy, folder, held_out, console)
        console.print(f"Best policy: {folder.best}\nLast policy: {folder.final}", soft_wrap=True)
        untrained = monitor.memory["untrained"]
        if untrained is not None and policy.card["picking_score"] <= untrained:
            console.print(
                "On the trainings that pick, nothing that was learned scored above the untrained "
                f"policy ({untrained:.3f})."
            )
        return policy
    finally:
        workers.close()


def _open(given: TrainConfig) -> tuple[TrainConfig, RunFolder | None]:
    if given.resume is None:
        # Said at once, and not after the stacks were made.
        files.ensure_folder(given.out)
        return given, None
    folder = RunFolder.find(given.resume, given.out)
    config = folder.config()
    _check_settings(given, config)
    # Only the budget may change; all else would make it another run.
    if given.steps not in (None, config.steps):
        folder.extend(given.steps)
        config = replace(config, steps=given.steps)
    return replace(config, minutes=given.minutes), folder


def _check_settings(given: TrainConfig, config: TrainConfig) -> None:
    """Raise InvalidArgumentError for settings that the run which goes on was not begun with.

    Those that are left at their defaults are taken for not given.
    """
    asked, usual, own = given.to_dict(), TrainConfig().to_dict(), config.to_dict()
    apart = [name for name in asked if name not in _MAY_DIFFER and asked[name] != usual[name]]
    apart = [name for name in apart if asked[name] != own[name]]
    if apart:
        raise InvalidArgumentError(
            f"The run that goes on was begun with another {', '.join(apart)}: leave out what is "
            "not to change, or begin a new run."
        )


def _say_budget(config: TrainConfig, model: BaseAlgorithm, console: Console) -> None:
    """Say what a budget comes to that is less than a rollout, of which all are whole."""
    rollout = model.env.num_envs * model.n_steps if isinstance(model, PPO) and model.env else 1
    if config.budget < rollout:
        console.print(
            f"A rollout is {rollout:,} slot decisions, and there is at least one: this run makes "
            f"more than the {config.budget:,} that are asked for."
        )


def _logger(folder: RunFolder) -> Logger:
    """Return SB3's logger: TensorBoard and CSV; a resumed run adds files of its own."""
    number = len(list(folder.logs.glob("progress*.csv")))
    suffix = f"-{number}" if number else ""
    files.ensure_folder(folder.logs)
    formats = [
        make_output_format(kind, str(folder.logs), suffix) for kind in ("csv", "tensorboard")
    ]
    return Logger(str(folder.logs), formats)


def _finish(monitor: Monitor, folder: RunFolder, held_out: HeldOut) -> FrozenPolicy:
    """Export the last policy; return the best one."""
    last = monitor.policy()
    last.save(folder.final)
    best, score = monitor.memory["best"], held_out.mean(last)
    monitor.log_score(score)
    if best is None or score > best:
        save_best(last, folder, score)
    return FrozenPolicy.load(folder.best)


def finish(config: TrainConfig) -> RunFolder:
    """Return the finished run in `config.out`, a folder of its own, meta-trained now or before."""
    if not _finished(config):
        begun = any(config.out.glob("*/run.json"))
        train(replace(config, resume="latest" if begun else None), report=False)
    return _finished(config)[-1]


def _finished(config: TrainConfig) -> list[RunFolder]:
    return [RunFolder(path.parent.parent) for path in sorted(config.out.glob("*/policies/final"))]


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        TrainConfig, train, "python -m agents.train", "go on with RESUME=latest or --resume."
    )


if __name__ == "__main__":
    raise SystemExit(main())
