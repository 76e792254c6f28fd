"""What the agent does on the published tasks: the page says what the records hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.moves import GRID, MovesConfig, collect, draw, moves_of, table
from lr_env.errors import DataError

ROOT = Path(__file__).parents[1]


def record(rates: list[list[float]]) -> dict[str, dict[str, list]]:
    return {"learning_rates": {"steps": [0, 10, 20, 40], "rates": rates}}


def test_moves_are_octaves_of_the_layers_that_move() -> None:
    start = record([[1.0, 8.0, 4.0]] * 4)
    agent = record([[1.0, 8.0, 4.0], [2.0, 8.0, 8.0], [4.0, 8.0, 4.0], [4.0, 8.0, 1.0]])
    moves = moves_of(agent, start)
    assert moves[GRID < 0.25] == pytest.approx(0.0)
    assert moves[(GRID >= 0.25) & (GRID < 0.5)] == pytest.approx(1.0)
    assert moves[(GRID >= 0.5) & (GRID < 1.0)] == pytest.approx(1.0)
    assert moves[-1] == 0.0
    assert not moves_of(start, start).any()


def test_the_findings_have_the_table_of_the_published_records(tmp_path: Path) -> None:
    moves = collect(ROOT / "docs" / "results")
    assert {len(own) for own in moves.values()} <= {3, 5, 10, 30}
    assert all(np.isfinite(own).all() for own in moves.values())
    assert table(moves) in (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")


def test_a_folder_without_both_arms_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="both agent and start"):
        draw(MovesConfig(tmp_path, tmp_path / "moves.png"))
