"""`make bench`: inner optimizer steps per second, as ratios to a plain loop, in one run."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from experiments.benchmarks.config import BenchConfig
from experiments.benchmarks.run import Benchmark
from experiments.benchmarks.table import markdown
from lr_env import files
from lr_env.command_line import run_command


def bench(config: BenchConfig) -> dict[str, Any]:
    """Measure; print and write the page; return the results."""
    console = Console()
    folder = files.ensure_folder(config.out)
    results = Benchmark(config, console).measure()
    text = markdown(results)
    files.write_json(folder / "benchmarks.json", results)
    for path in (folder / "benchmarks.md", config.page):
        if path is not None:
            files.write_text(path, text)
    console.print(text, highlight=False, soft_wrap=True, markup=False)
    return results


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(BenchConfig, bench, "python -m experiments.benchmarks", "nothing is kept.")


if __name__ == "__main__":
    raise SystemExit(main())
