"""The policy's page says of the published meta-test what its summary says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lr_env.policy import FrozenPolicy

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/policy-ppo-v1.md").read_text(encoding="utf-8")
FOLDER = ROOT / "docs/meta-tests/ppo-v1"
SUMMARY: dict[str, Any] = json.loads((FOLDER / "summary.json").read_text(encoding="utf-8"))
CONTROLS = {
    "fixed": "fixed",
    "random actions": "random",
    "shuffled observations": "shuffled",
    "start and schedule, no actions": "start",
    "replay": "replay",
    "mean scales": "mean_scales",
    "an action for every layer": "layer_by_layer",
}


def rows(after: str) -> list[list[str]]:
    """Return the cells of the table whose head begins so."""
    lines = PAGE[PAGE.index(after) :].splitlines()[2:]
    table = lines[: next(turn for turn, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def from_rate(arm: dict[str, Any], rate: float) -> str:
    return f"{arm['iqm'][arm['rates'].index(rate)]:.3f}"


def test_it_is_of_the_shipped_policy() -> None:
    assert SUMMARY["weights_sha256"] == FrozenPolicy.load("ppo-v1").card["weights_sha256"]
    assert SUMMARY["amended"] == FrozenPolicy.load("ppo-v1").card.get("amended")


def test_the_table_of_entries() -> None:
    table = rows("| entry | agent from 1e-5")
    assert [row[0].split()[0] for row in table] == list(SUMMARY["entries"])
    for row, entry in zip(table, SUMMARY["entries"].values(), strict=True):
        arms, tuned = entry["arms"], entry["tuned"][entry["reference"]]
        assert row[1:] == [
            *(from_rate(arms["agent"], rate) for rate in (1e-5, 1e-3, 1e-1)),
            from_rate(arms["agent_validation"], 1e-3),
            f"{arms['start']['iqm'][0]:.3f}",
            from_rate(arms["cosine"], 1e-3),
            f"{tuned['iqm']:.3f} ({tuned['rate']:g})",
        ]


def test_the_bars() -> None:
    table = rows("| bar | | figures |")
    assert len(table) == len(SUMMARY["bars"])
    for row, bar in zip(table, SUMMARY["bars"], strict=True):
        assert row[0][0] == bar["name"][0]
        assert row[1].strip("*") == ("met" if bar["passed"] else "missed")
        figures = re.findall(r"[+-]\d\.\d+|\d+ of \d+", row[2])
        assert figures or bar["name"].startswith(("2", "4"))
        for figure in figures:
            assert figure in bar["text"], (bar["name"], figure)


def test_the_controls() -> None:
    table = rows("| control (bar 4)")
    assert [row[0] for row in table] == list(CONTROLS)
    for name, figures, verdict in table:
        median = SUMMARY["controls"][CONTROLS[name]]["median"]
        interval = f"{median['mean']:+.3f} [{median['low']:+.3f}, {median['high']:+.3f}]"
        assert figures == interval
        assert verdict == ("better" if median["high"] < 0.0 else "not shown")


def test_the_family() -> None:
    found = FrozenPolicy.load("ppo-v1").card["held_out"]
    said = PAGE[PAGE.index("**On unseen architectures of its own family**") :].splitlines()[0]
    for value in (found["policy"], *found["rivals"].values()):
        assert f"{value:.2f}" in said
    for rival in ("start", "random"):
        gap, half = found["over"][rival]
        assert f"{gap:+.2f} [{gap - half:+.2f}, {gap + half:+.2f}]" in said
