"""The policy's page says of the ablation what the published scores say."""

from __future__ import annotations

from pathlib import Path

from agents.ablation_scores import NOTHING, read_scores
from agents.ablation_table import SUITES, table
from agents.variants import DECLARED, REFERENCE

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/policy-ppo-v1.md").read_text(encoding="utf-8")
SCORES = read_scores(ROOT / "docs/ablation")


def test_the_table_is_that_of_the_scores() -> None:
    rows = [line for line in table(SCORES, []).splitlines() if line.startswith("|")]
    assert "\n".join(rows) in PAGE


def test_the_declared_test_is_of_three_seeds() -> None:
    for name in (NOTHING, REFERENCE, DECLARED):
        assert len(SCORES[name]) == 3
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| {DECLARED} |"))
    gap = row.split("|")[4].strip()
    assert gap in PAGE[PAGE.index("The declared test") :].split("\n")[0]


def test_every_score_is_of_the_same_trainings() -> None:
    sizes = {
        tuple(len(own) for own in found)
        for by_seed in SCORES.values()
        for found in by_seed.values()
    }
    ((*counts,),) = sizes
    assert len(counts) == len(SUITES)
