"""The plan's targets from end to end, at scale smoke, on data in the hub's layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.config import EvaluateConfig
from experiments.defaults import TARGETS, TEXTS
from experiments.engines import Save, Work, guarded
from experiments.evaluate import evaluate
from experiments.runs import POINTS, RunSpec
from tests.toys import make_policy

BINARY = {"accuracy", "loss", "precision", "recall"}
METRICS = {
    "titanic": BINARY, "cifar10": {"accuracy", "loss"}, "sst2": BINARY | {"f1"},
    "imdb": BINARY | {"f1"},
}  # fmt: skip


def run_here(specs: list[RunSpec], work: Work[RunSpec], save: Save[RunSpec], *rest: Any) -> None:
    for spec in specs:
        save(spec, guarded(work, spec))


@pytest.mark.parametrize(
    ("task", "names"),
    [("titanic", ("titanic",)), pytest.param("all", TARGETS, marks=pytest.mark.slow)],
)
@pytest.mark.usefixtures("own_data_cache")
def test_targets_at_scale_smoke(
    task: str, names: tuple[str, ...], tmp_path: Path, data_root: Path, encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("experiments.grid.run_all", run_here)
    monkeypatch.setenv("LR_ENV_DATA", str(data_root))
    make_policy().save(tmp_path / "policy")
    config = EvaluateConfig(
        task=task, scale="smoke", model=str(encoder) if task == "all" else None,
        arms=("adam agent",), seeds=3,
        policy=str(tmp_path / "policy"), out=tmp_path / "eval",
    )  # fmt: skip
    summaries = evaluate(config)
    assert tuple(summaries) == names
    folders = {folder.name.split("-smoke")[0]: folder for folder in (tmp_path / "eval").iterdir()}
    assert set(folders) == set(names)
    for task, folder in folders.items():
        assert set(summaries[task]["metrics"]) == METRICS[task]
        report = (folder / "report.md").read_text()
        assert "Scale smoke: " in report
        assert "Scale smoke: " in (folder / "report.html").read_text()
        records = [json.loads(path.read_text())["record"] for path in folder.glob("records/*")]
        assert len(records) == 6
        for record in records:
            assert set(record["test"]) == METRICS[task]
            assert 0 < len(record["points"]) <= POINTS
            assert {"train", "validation", "test"} == set(record["task"]["rows"])
            assert record["task"]["hash"]
            assert ("model_hash" in record["task"]) == (task in TEXTS)
