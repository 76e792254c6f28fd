"""The machine that is measured on: what it is, how busy it is, and what one core does at best."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.measure import rates

_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """What one core does at best: products of large matrices, copies of large tensors."""

    flops: float
    bytes: float


def measure_machine(rounds: int, seconds: float) -> Machine:
    """Measure with PyTorch's present number of threads."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    source, target = torch.randn(1 << 24), torch.empty(1 << 24)

    def product() -> float:
        torch.mm(left, right)
        return 2.0 * 1024**3

    def copy() -> float:
        target.copy_(source)
        return 2.0 * source.nbytes

    found = rates({"product": product, "copy": copy}, rounds, seconds)
    return Machine(found["product"], found["copy"])


def surroundings() -> dict[str, Any]:
    """Return date, processor, its widest instructions, memory in bytes, load and GPU."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": list(os.getloadavg()),
        "gpu": torch.cuda.get_device_name() if cuda_at_hand() else None,
    }


def cuda_at_hand() -> bool:
    """Return whether there is a GPU that PyTorch can use."""
    return torch.cuda.is_available()


def _processor() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
