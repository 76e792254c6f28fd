"""Progress: fractions of runs, time left, and a line a minute where there is no terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from experiments import progress
from experiments.arms import parse_arms
from experiments.engines import local
from experiments.progress import GridProgress
from experiments.recipes import run_recipe
from experiments.runs import RunSpec


@pytest.mark.parametrize(
    ("done", "elapsed", "said"),
    [
        (0.0, 10.0, "time left unknown"),
        (2.0, 10.0, "50 s left"),
        (1.5, 300.0, "35 min left"),
        (0.1, 300.0, "9.9 h left"),
    ],
)
def test_time_left(done: float, elapsed: float, said: str) -> None:
    assert GridProgress([4.0] * 3, Console(quiet=True), "runs").time_left(done, elapsed) == said


def test_a_log_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    with GridProgress([1.0] * 4, Console(file=log, width=80), "imdb, scale quick") as bar:
        for second in range(1, 131):
            now[0] = 100.0 + second
            bar.show([second / 100, 0.0, 0.0, 0.0])
    assert log.getvalue().splitlines() == [
        "imdb, scale quick: 0.6 of 4 runs, 6 min left",
        "imdb, scale quick: 1.2 of 4 runs, 5 min left",
    ]


def test_the_time_left_rests_on_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    with GridProgress([6.0, 1.0, 1.0], Console(file=log, width=80), "grid", "jobs") as bar:
        now[0] += 60.0
        bar.show([0.5, 1.0, 0.0])
    assert log.getvalue() == "grid: 1.5 of 3 jobs, 60 s left\n"


def test_a_terminal_gets_a_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=80, force_terminal=True)
    with GridProgress([1.0] * 4, console, "imdb, scale quick") as bar:
        bar.show([1.0, 0.25, 0.0, 0.0])
    assert "1.2 of 4 runs" in screen.getvalue()


def test_runs_under_way_are_counted_by_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LOOK_EVERY", 0.02)
    adam = parse_arms("adam")[0]
    specs = [
        RunSpec(
            task="wine", task_arguments={}, seed=seed, arm=adam, policy=None, epochs=100,
            batch_size=8,
        )
        for seed in range(2)
    ]  # fmt: skip
    seen: list[float] = []
    saved: list[Any] = []
    local.LocalEngine(1).run_all(
        specs, run_recipe, lambda spec, record: saved.append(record),
        lambda shares: seen.append(sum(shares)),
    )  # fmt: skip
    assert len(saved) == 2
    assert seen == sorted(seen)
    assert seen[-1] == 2.0
    assert any(share % 1.0 > 0.0 for share in seen)
