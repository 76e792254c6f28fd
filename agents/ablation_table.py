"""The ablation's table: means over equal trainings, and differences from the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from scipy import stats
from torch import Tensor

from agents.variants import REFERENCE

SUITES = ("part A of the meta-test suite", "part A with validation losses", "the held-out suite")
FEWEST_SEEDS = 3
"""Meta-trainings of a variant that an interval can be made of."""
_NOTE = (
    "Means over equal trainings. One meta-training differs from the next by more than many "
    "variants do: a 95 % interval over meta-trainings is given where there are at least three, "
    "and where there are two, in parentheses, the difference of each."
)

Scores = Mapping[int, Sequence[Tensor]]
"""Final potentials by seed of the meta-training, for each suite `[trainings]`."""


def table(scores: Mapping[str, Scores], revisions: Sequence[str]) -> str:
    """Return the table as Markdown; `revisions`: of the code that the policies are of."""
    lines = [
        "| variant | seeds | " + " | ".join(f"{name} | minus the reference" for name in SUITES)
        + " |",
        "|---|---|" + "---|---|" * len(SUITES),
    ]  # fmt: skip
    for name, by_seed in scores.items():
        cells = [", ".join(map(str, by_seed))]
        for suite in range(len(SUITES)):
            own = torch.stack([by_seed[seed][suite] for seed in by_seed])
            reference = torch.stack([scores[REFERENCE][seed][suite] for seed in by_seed])
            gap = "" if name == REFERENCE else difference(own - reference)
            cells += [f"{float(own.mean()):.3f}", gap]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    code = f"Meta-trained by revision {', '.join(revisions)}."
    return "\n".join([*lines, "", _NOTE, "", code]) + "\n"


def difference(gaps: Tensor) -> str:
    """Return the mean of `[seeds, n]`, with its 95 % t interval over seeds where there are three.

    Of two seeds each has its own difference beside the mean. Trainings are equal for all variants;
    what varies is what a meta-training comes to.
    """
    by_seed = gaps.mean(1)
    mean = float(by_seed.mean())
    if len(by_seed) == 1:
        return f"{mean:+.3f}"
    if len(by_seed) < FEWEST_SEEDS:
        return f"{mean:+.3f} ({', '.join(f'{float(own):+.3f}' for own in by_seed)})"
    error = float(by_seed.std()) / math.sqrt(len(by_seed))
    half = float(stats.t.ppf(0.975, len(by_seed) - 1)) * error
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"
