"""The benchmark's tables."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from experiments.benchmarks.subjects import STEPS_PER_ACTION, VALIDATION_SAMPLES

_CPU_INFO = Path("/proc/cpuinfo")


def markdown(results: dict[str, Any]) -> str:
    """Return the page."""
    machine = results["machine"]
    lines = [
        "# Benchmarks",
        "",
        f"{_processor()}, {os.cpu_count()} cores; torch {results['versions']['torch']}, one "
        f"thread a process. One core reaches {machine['flops'] / 1e9:.0f} GFLOP/s in a large "
        f"matrix product and {machine['bytes'] / 1e9:.0f} GB/s in a large copy.",
        "",
        f"Inner optimizer steps per second: batch 32, Adam, a decision every {STEPS_PER_ACTION} "
        f"steps, observations and rewards on, {VALIDATION_SAMPLES} validation samples a decision; "
        "medians of interleaved rounds in one run. *Ready*: seconds to build, reset and take five "
        "decisions, compilation included.",
    ]
    for architecture, found in results["architectures"].items():
        lines += _section(architecture, found)
    return "\n".join(lines) + "\n"


def _section(architecture: str, found: dict[str, Any]) -> list[str]:
    rates, ready = found["steps_per_second"], found["ready"]
    by_arithmetic, by_memory = found["fastest"]
    lines = [
        "",
        f"## {architecture}",
        "",
        f"On one core arithmetic alone would allow {by_arithmetic:,.0f} steps/s, memory traffic "
        f"{by_memory:,.0f}. A further training takes {found['memory_per_lane'] / 1e3:,.0f} kB, its "
        "data included.",
        "",
        "| | steps/s | decisions/s | plain loops | of the arithmetic | ready, s |",
        "|---|---|---|---|---|---|",
    ]
    for name, rate in rates.items():
        decisions = "" if name == "plain loop" else f"{rate / STEPS_PER_ACTION:,.0f}"
        cores = 2 if "processes" in name or "Async" in name else 1
        seconds = f"{ready[name]:.1f}" if name in ready else ""
        lines.append(
            f"| {name} | {rate:,.0f} | {decisions} | {rate / rates['plain loop']:.1f} | "
            f"{rate / cores / by_arithmetic:.0%} | {seconds} |"
        )
    return lines


def _processor() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
