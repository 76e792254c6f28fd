"""Which arms the report's pictures pick out, in what colours, and how their legends fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from experiments.findings import Arms

# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C8C8C", "#F0E442")
AGENT_COLOURS = ("#D55E00", "#000000", "#7B2D8E", "#A50026", "#5C4033", "#FF6FB5", "#B8860B")
DASHES = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
IN_BACKGROUND = "#C9CDD3"
LEGEND_LETTERS, LEGEND_MARGIN = 140, 9
"""Letters that a picture is wide, and those that a legend's line and gaps take in each column."""


@dataclass(frozen=True)
class Look:
    """How an arm's line is drawn, and what the legend calls it, if anything."""

    colour: str
    dash: Any
    width: float
    label: str | None
    above: int


def looks(arms: Arms, metric: str, lower_is_better: bool) -> dict[str, Look]:
    """Return how each arm is drawn; of many baselines the best few are picked out.

    The first baseline, which is usually the plan's, is always among them. Where arms have not all
    the same number of seeds, labels say how many.

    Args:
        arms: of the summary, without doubles.
        metric: the test metric that the best are found by.
        lower_is_better: whether it is a loss.
    """
    agents = [name for name, arm in arms.items() if arm["is_agent"]]
    picked = _picked(arms, metric, lower_is_better)
    alike = len({arm["runs"] for arm in arms.values()}) < 2
    labels = {
        name: arm["label"] if alike else f"{arm['label']} ({arm['runs']})"
        for name, arm in arms.items()
    }
    found = {}
    for place, name in enumerate(name for name in arms if name in picked):
        dash = DASHES[place % len(DASHES)]
        found[name] = Look(COLOURS[place], dash, 1.6, labels[name], 2)
    for place, name in enumerate(agents):
        colour = AGENT_COLOURS[place % len(AGENT_COLOURS)]
        found[name] = Look(colour, "-", 2.4, labels[name], 3)
    behind = [name for name in arms if name not in found]
    for name in behind:
        plural = "s" if len(behind) > 1 else ""
        others = f"{len(behind)} other baseline{plural}" if name == behind[0] else None
        found[name] = Look(IN_BACKGROUND, "-", 1.0, others, 1)
    return found


def _picked(arms: Arms, metric: str, lower_is_better: bool) -> list[str]:
    baselines = [name for name, arm in arms.items() if not arm["is_agent"]]
    if len(baselines) <= len(COLOURS):
        return baselines
    known = [name for name in baselines[1:] if arms[name]["test"][metric]]
    known.sort(key=lambda name: float(arms[name]["test"][metric]["mean"]))
    best = known if lower_is_better else known[::-1]
    return [baselines[0], *best[: len(COLOURS) - 1]]


def legend_height(labels: list[str]) -> float:
    """Return the inches that the legend below a picture takes."""
    return 0.22 * math.ceil((len(labels) + 1) / legend_columns(labels))


def legend_columns(labels: list[str]) -> int:
    """Return how many columns of the longest label a picture's width holds, at most three."""
    longest = max((len(label) for label in labels), default=1)
    return max(1, min(3, LEGEND_LETTERS // (longest + LEGEND_MARGIN)))


def labels_of(drawn: dict[str, Look]) -> list[str]:
    """Return the labels that a legend has."""
    return [look.label for look in drawn.values() if look.label]
