"""`make bench`: inner optimizer steps per second, as ratios to a plain loop, in one run."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from experiments.benchmarks import subjects
from experiments.benchmarks.measure import floor, steps_per_second
from lr_env import files
from lr_env.command_line import run_command
from lr_env.provenance import describe_run

ENVIRONMENTS = 16


@dataclass(frozen=True)
class BenchConfig:
    """Time stacks of trainings against plain loops and single environments."""

    lanes: tuple[int, ...] = (1, 16, 64, 256, 1024)
    """Sizes of stacks."""
    threads: int = 1
    """Threads of PyTorch; the plain loop has one in any case when this is 1."""
    out: Path = Path("runs/bench")
    """Folder for benchmarks.json and benchmarks.md."""


def bench(config: BenchConfig) -> None:
    """Measure, print and write the tables."""
    console = Console()
    torch.set_num_threads(config.threads)
    folder = files.ensure_folder(config.out)
    results: dict[str, Any] = {**describe_run({"threads": config.threads}), "floor": floor()}
    results["rates"] = {}
    for architecture in subjects.ARCHITECTURES:
        console.print(f"Timing {architecture} ...")
        results["rates"][architecture] = _rates(architecture, config)
    text = _markdown(results, config)
    files.write_json(folder / "benchmarks.json", results)
    files.write_text(folder / "benchmarks.md", text)
    console.print(text, highlight=False, soft_wrap=True)


def _rates(architecture: str, config: BenchConfig) -> dict[str, float]:
    sync, close_sync = subjects.single_envs(architecture, ENVIRONMENTS, processes=False)
    apart, close_apart = subjects.single_envs(architecture, ENVIRONMENTS, processes=True)
    timed = {
        "plain loop": subjects.plain_loop(architecture),
        f"SyncVectorEnv of {ENVIRONMENTS}": sync,
        f"AsyncVectorEnv of {ENVIRONMENTS}": apart,
        **{f"stack of {num}": subjects.stack(architecture, num) for num in config.lanes},
    }
    try:
        return steps_per_second(timed)
    finally:
        close_sync()
        close_apart()


def _markdown(results: dict[str, Any], config: BenchConfig) -> str:
    limits = results["floor"]
    lines = [
        "# Benchmarks",
        "",
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{config.threads} thread(s) used; torch {results['versions']['torch']}; a matrix product "
        f"reaches {limits['gflops']:.0f} GFLOP/s, a copy {limits['gigabytes']:.0f} GB/s.",
        "",
        "Inner optimizer steps per second (batch 32, Adam, a decision every 5 steps, observations "
        "and rewards on, 256 validation samples a decision), medians of interleaved rounds.",
    ]
    for architecture, rates in results["rates"].items():
        lines += ["", f"## {architecture}", "", "| | steps/s | decisions/s | plain loops |"]
        lines += ["|---|---|---|---|"]
        for name, rate in rates.items():
            decisions = "" if name == "plain loop" else f"{rate / subjects.STEPS_PER_ACTION:,.0f}"
            ratio = rate / rates["plain loop"]
            lines.append(f"| {name} | {rate:,.0f} | {decisions} | {ratio:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(BenchConfig, bench, "python -m experiments.benchmarks", "nothing is kept.")


if __name__ == "__main__":
    raise SystemExit(main())
