"""`make bench`: inner optimizer steps per second, as ratios to a plain loop, in one run."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from experiments.benchmarks import bounds, subjects, table
from experiments.benchmarks.measure import steps_per_second
from experiments.benchmarks.subjects import VectorKind
from lr_env import files
from lr_env.command_line import run_command
from lr_env.provenance import describe_run

ENVIRONMENTS = 16


@dataclass(frozen=True)
class BenchConfig:
    """Time vector environments against plain loops and single environments."""

    lanes: tuple[int, ...] = (1, 16, 64, 256, 1024)
    """Sizes of the vector environment in one process, eager."""
    compiled: tuple[int, ...] = (64, 256, 1024)
    """Sizes of the compiled one, in one process."""
    divided: tuple[int, ...] = (256, 1024)
    """Sizes of the compiled one that is divided among two processes."""
    architectures: tuple[str, ...] = tuple(subjects.ARCHITECTURES)
    """Networks, by the names of the tables."""
    out: Path = Path("runs/bench")
    """Folder for benchmarks.json and benchmarks.md."""

    @property
    def kinds(self) -> list[VectorKind]:
        """The vector environments to time."""
        return [
            *(VectorKind(num) for num in self.lanes),
            *(VectorKind(num, compile=True) for num in self.compiled),
            *(VectorKind(num, workers=2, compile=True) for num in self.divided),
        ]


def bench(config: BenchConfig) -> None:
    """Measure, print and write the tables."""
    console = Console()
    # One thread a process: two cores are used by two processes.
    torch.set_num_threads(1)
    folder = files.ensure_folder(config.out)
    machine = bounds.measure_machine()
    # First of all: a process inherits the peak of the one that started it.
    memory = {name: bounds.memory_per_lane(name) for name in config.architectures}
    results: dict[str, Any] = {**describe_run({}), "machine": vars(machine), "architectures": {}}
    for architecture in config.architectures:
        console.print(f"Timing {architecture} ...")
        work = bounds.work_of(architecture)
        results["architectures"][architecture] = {
            **_rates(architecture, config),
            "fastest": work.fastest(machine),
            "memory_per_lane": memory[architecture],
        }
    text = table.markdown(results)
    files.write_json(folder / "benchmarks.json", results)
    files.write_text(folder / "benchmarks.md", text)
    console.print(text, highlight=False, soft_wrap=True)


def _rates(architecture: str, config: BenchConfig) -> dict[str, Any]:
    """Return steps a second by subject, and the seconds until the compiled ones were ready."""
    timed: dict[str, subjects.Subject] = {"plain loop": subjects.plain_loop(architecture)}
    ready: dict[str, float] = {}
    with ExitStack() as opened:
        for name, processes in (("SyncVectorEnv", False), ("AsyncVectorEnv", True)):
            envs = subjects.single_envs(architecture, ENVIRONMENTS, processes)
            timed[f"{name} of {ENVIRONMENTS}"] = opened.enter_context(envs)
        for kind in config.kinds:
            timed[kind.name], ready[kind.name] = opened.enter_context(
                subjects.vector_env(architecture, kind)
            )
        return {"steps_per_second": steps_per_second(timed), "ready": ready}


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(BenchConfig, bench, "python -m experiments.benchmarks", "nothing is kept.")


if __name__ == "__main__":
    raise SystemExit(main())
