"""Published results: copies of finished reports and one page with a table of each."""

import json
from pathlib import Path

import pytest

from experiments.archive import unpack
from experiments.publish import PublishConfig, main, publish
from experiments.records import RecordFile
from lr_env.errors import DataError, InvalidArgumentError


def _finished(folder: Path, accuracy: float) -> Path:
    interval = {"mean": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.01}
    arm = {
        "label": "Adam, fixed", "diverged": 1, "runs": 3, "seconds": 2.5,
        "controller_seconds": 0.0, "is_agent": False, "at_chance": True,
        "test": {"accuracy": interval, "loss": None},
        "convergence": {"runs": 3, "reached": 2, "median_epochs": 1.5},
    }  # fmt: skip
    agent = {
        **arm, "label": "Frozen agent", "controller_seconds": 0.5, "is_agent": True,
        "at_chance": False,
    }  # fmt: skip
    summary = {
        "task": {
            "name": "toy", "epochs": 2, "batch_size": 8,
            "sizes": {"train": 3000, "validation": 20, "test": 30},
        },
        "scale": "quick", "recipe": "plan", "seeds": 3, "device": "cpu",
        "date": "2026-11-25", "policy": None, "corrected_for_overlap": True,
        "target_accuracy": 0.8, "arms": {"adam": arm, "agent": agent},
        "provenance": {"command": "run it"}, "records": {"records/adam-seed0": "f"},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "report.md").write_text("![curves](curves.png)")
    (folder / "runs.csv").write_text("arm,seed\n")
    (folder / "curves.png").write_bytes(b"a picture")
    RecordFile(folder / "records", "adam-seed0", "f").save({"seed": 0})
    return folder


def test_what_was_published_before_stays_and_what_is_given_again_is_replaced(
    tmp_path: Path,
) -> None:
    out = tmp_path / "results"
    one, other = _finished(tmp_path / "one", 0.7), _finished(tmp_path / "other", 0.9)
    publish(PublishConfig((one,), out))
    # What an earlier report showed is no picture of this one.
    (one / "curves.png").rename(one / "rates.png")
    (one / "base-rates.png").write_bytes(b"of an earlier report")
    (one / "report.md").write_text("![rates](rates.png)")
    page = publish(PublishConfig((one, other), out)).read_text()
    names = {path.name for path in (out / "one").iterdir()}
    assert names == {"report.md", "summary.json", "runs.csv", "records.jsonl.xz", "rates.png"}
    assert unpack(out / "one" / "records.jsonl.xz", tmp_path / "back") == (1, 0, 0)
    assert page.count("## toy, scale quick") == 2
    assert "3,000 training" in page
    assert "(toy, toy)" in page
    figures = "0.7000 [0.6900, 0.7100] | not finite | 1.5 (1 of 3 never) | 1 of 3 |"
    assert f"| Adam, fixed (at chance) | {figures} - |" in page
    assert f"| Frozen agent | {figures} 20 % |" in page
    assert "[Report](other/report.md), [a row for every run](other/runs.csv)." in page
    assert publish(PublishConfig((other,), out)).read_text() == page


def test_an_evaluation_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="run the evaluation again"):
        publish(PublishConfig((tmp_path,), tmp_path / "results"))
    assert not (tmp_path / "results").exists()


def test_a_folder_by_the_name_of_a_point_replaces_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "results"
    one, other = _finished(tmp_path / "one", 0.7), _finished(tmp_path / "other", 0.9)
    publish(PublishConfig((one,), out))
    monkeypatch.chdir(other)
    publish(PublishConfig((Path(),), out))
    assert {path.name for path in out.iterdir()} == {"README.md", "one", "other"}


def test_a_report_that_names_no_records_is_refused(tmp_path: Path) -> None:
    folder = _finished(tmp_path / "one", 0.7)
    summary = json.loads((folder / "summary.json").read_text())
    del summary["records"]
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InvalidArgumentError, match="does not name its records"):
        publish(PublishConfig((folder,), tmp_path / "results"))


def test_a_report_that_is_not_whole_replaces_none(tmp_path: Path) -> None:
    out = tmp_path / "results"
    one, other = _finished(tmp_path / "one", 0.7), _finished(tmp_path / "other", 0.9)
    (other / "runs.csv").unlink()
    with pytest.raises(InvalidArgumentError, match=r"runs\.csv"):
        publish(PublishConfig((one, other), out))
    assert not out.exists()


def test_nothing_to_publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match="make eval"):
        publish(PublishConfig())


def test_folders_are_given_without_a_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _finished(tmp_path / "one", 0.7)
    out = tmp_path / "results"
    monkeypatch.setattr("sys.argv", ["publish", str(folder), "--out", str(out)])
    assert main() == 0, capsys.readouterr().err
    assert (out / "one" / "report.md").read_text() == "![curves](curves.png)"


@pytest.mark.parametrize(
    ("damage", "says"), [("{", "damaged"), ('{"task": {"name": "toy"}}', "another version")]
)
def test_a_report_that_no_page_can_be_made_of_changes_nothing(
    damage: str, says: str, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    publish(PublishConfig((_finished(tmp_path / "one", 0.7),), out))
    (out / "one" / "summary.json").write_text(damage)
    page = (out / "README.md").read_text()
    with pytest.raises(DataError, match=says):
        publish(PublishConfig((_finished(tmp_path / "other", 0.9),), out))
    assert not (out / "other").exists()
    assert (out / "README.md").read_text() == page
