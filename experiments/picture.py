"""`python -m experiments.picture`: the README's picture, from runs on digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from experiments.arms import parse_arms
from experiments.engines import open_engine
from experiments.grid import run_all
from experiments.plots import png
from experiments.recipes import run_recipe
from experiments.records import Record
from experiments.runs import RunSpec
from lr_env import files
from lr_env.command_line import run_command
from lr_env.policy import DEFAULT_POLICY
from lr_env.tasks import DEFAULT_TASK, make_task

RATES = ("1e-05", "0.001", "0.1")
COLOURS = ("#56B4E9", "#D55E00", "#000000")


@dataclass(frozen=True)
class PictureConfig:
    """Draw the agent at work: the same training from three base rates, and its rates by layer."""

    policy: str = DEFAULT_POLICY
    """Shipped policy by name, or the path of a policy folder."""
    seed: int = 0
    """Seed of the training."""
    out: Path = Path("docs/agent.png")
    """The picture."""


def draw(config: PictureConfig) -> None:
    """Run the six trainings and write the picture."""
    task = make_task(DEFAULT_TASK)
    arms = parse_arms(" ".join(f"{name}@{rate}" for rate in RATES for name in ("adam", "agent")))
    specs = [
        RunSpec(
            task=DEFAULT_TASK, task_arguments={}, seed=config.seed, arm=arm,
            policy=config.policy if arm.is_agent else None, epochs=task.epochs,
            batch_size=task.batch_size,
        )
        for arm in arms
    ]  # fmt: skip
    records: dict[str, Record] = {}

    def save(spec: RunSpec, record: Record) -> None:
        records[spec.arm.name] = record

    with open_engine("local", None) as engine:
        run_all(specs, run_recipe, save, engine, Console())
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    for arm in arms:
        _curve(left, records[arm.name], arm.lr, arm.is_agent)
    left.set(xlabel="epochs", ylabel="validation loss", yscale="log",
             title="digits, from three base learning rates")  # fmt: skip
    left.legend(fontsize=7, ncols=2)
    left.grid(alpha=0.25)
    chosen = next(arm for arm in arms if arm.is_agent and arm.lr == 1e-3)
    _rates(right, records[chosen.name])
    files.ensure_folder(config.out.parent)
    files.write_bytes(config.out, png(figure))


def _curve(panel: Axes, record: Record, lr: float, is_agent: bool) -> None:
    points = [point for point in record["points"] if point["loss"] is not None]
    panel.plot(
        [point["epochs"] for point in points],
        [point["loss"] for point in points],
        color=COLOURS[[float(rate) for rate in RATES].index(lr)],
        ls="-" if is_agent else ":",
        label=f"{'frozen agent' if is_agent else 'Adam'}, {lr:g}",
    )


def _rates(panel: Axes, record: Record) -> None:
    rates = record["learning_rates"]
    for index, layer in enumerate(rates["layers"]):
        values = np.asarray(rates["rates"], dtype=float)[:, index]
        panel.step(rates["steps"], values, where="post", label=f"layer {layer}")
    panel.axhline(1e-3, color="#8C8C8C", ls=":", label="the script's own rate")
    panel.set(xlabel="optimizer steps", ylabel="learning rate", yscale="log",
              title="what the agent sets, layer by layer")  # fmt: skip
    panel.legend(fontsize=7)
    panel.grid(alpha=0.25)


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(PictureConfig, draw, "python -m experiments.picture", "nothing is drawn.")


if __name__ == "__main__":
    raise SystemExit(main())
