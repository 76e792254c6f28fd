"""The results in README and findings are those of the published evaluations, digit for digit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.findings import format_convergence
from lr_env.policy import FrozenPolicy

ROOT = Path(__file__).parent.parent
RESULTS = (ROOT / "README.md").read_text(encoding="utf-8").split("## Results")[1].split("\n## ")[0]
FINDINGS = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
SAID = RESULTS + FINDINGS
SUMMARIES: dict[str, dict[str, Any]] = {
    path.parent.name: json.loads(path.read_text(encoding="utf-8"))
    for path in (ROOT / "docs/results").glob("*/summary.json")
}
SIGNED = re.compile(r"([+-]\d\.\d{3}) \[([+-]\d\.\d{3}), ([+-]\d\.\d{3})\]")
TARGETS = ["cifar10", "digits", "imdb", "sst2", "titanic"]
PLAIN = re.compile(r"(?<![\d.+-])(\d?\.\d{3} \[\d?\.\d{3}, \d?\.\d{3}\])")


def plain(interval: dict[str, float]) -> str:
    mean, low, high = (f"{interval[part]:.3f}" for part in ("mean", "low", "high"))
    return re.sub(r"(?<![0-9])0\.", ".", f"{mean} [{low}, {high}]")


def rows(head: str) -> list[list[str]]:
    table = SAID.split(head)[1].split("\n\n")[0].strip().splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def folder(title: str) -> str:
    """Return the published evaluation of a title such as `titanic, scale paper, 30 seeds`."""
    task = title.split(",")[0]
    return f"{task}-paper" if "scale paper" in title else task


def test_every_row_of_the_targets_table() -> None:
    title = ""
    seen = set()
    for first, label, accuracy, loss, epochs in rows("| epochs to target |\n"):
        title = first or title
        summary = SUMMARIES[folder(title)]
        seen.add(folder(title))
        label, _, fewer = label.partition(" (")
        (arm,) = (arm for arm in summary["arms"].values() if arm["label"] == label)
        own = [plain(arm["test"][metric]) for metric in ("accuracy", "loss")]
        assert [accuracy, loss] == own, (title, label)
        said = format_convergence(arm["convergence"])
        never = f"- ({arm['runs']} of {arm['runs']} never)"
        assert epochs == (never if arm["convergence"]["median_epochs"] is None else said)
        assert f"target {summary['target_accuracy']:g}" in title, label
        assert f"{arm['runs']} seeds" in (fewer or title), label
    assert {"digits", "titanic-paper", "cifar10", "sst2", "imdb"} <= seen


def test_the_table_of_base_rates() -> None:
    arms = SUMMARIES["digits"]["arms"].values()
    rates = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    for method, row in zip(("adam", "agent"), rows("| 1e-2 | 1e-1 |\n"), strict=True):
        own = {arm["lr"]: arm for arm in arms if arm["method"] == method}
        assert row[1:] == [plain(own[rate]["test"]["accuracy"]) for rate in rates]


AROUND, LINEAR = "agent-narrow-linear@5e-05", "adam-linear@5e-05"
COMPARED = {
    "Adam, fixed at 0.001": "adam",
    "the recipe": "adam-cosine",
    "the recipe, best of nine rates": "adam-cosine@best",
    "Adam, fixed, best of nine rates": "adam@best",
    "Schedule-Free AdamW, its own rate": "schedule-free",
    "Schedule-Free AdamW, best of nine rates": "schedule-free@best",
    "Prodigy": "prodigy",
    "control: the agent's start and schedule, no actions": "start",
    "control: half that start, no actions": "half-start",
    "control: an action for every layer": "layer-by-layer",
    "control: one rate for all layers": "one-rate",
    "control: cosine from lr\\*; on text that of fine-tuning": "lr-star",
    "agent around the recipe, minus the recipe": "adam-cosine",
}
ON_TEXT = {
    "adam-cosine": LINEAR, "adam-cosine@best": "adam-linear@best", "lr-star": "lr-star-finetuning",
}  # fmt: skip
COLUMNS = ("digits", "titanic-paper", "cifar10", "sst2", "imdb")


def verdict(task: str, agent: str, baseline: str) -> str:
    """Return a cell of the table of verdicts."""
    found = [
        row for row in SUMMARIES[task]["differences"]
        if (row["agent"], row["baseline"], row["metric"]) == (agent, baseline, "accuracy")
    ]  # fmt: skip
    if not found:
        return "-"
    (row,) = found
    ahead = "**better**" if row["p_holm"] < 0.05 else "ahead"
    words = {
        "better": ahead, "worse": "**worse**", "equal": "equal", "undecided": "open",
        "at chance": "(at chance)",
    }  # fmt: skip
    mean, low, high = (f"{row['interval'][part]:+.3f}" for part in ("mean", "low", "high"))
    return f"{words[row['verdict']]} {mean} [{low}, {high}]"


def test_the_table_of_verdicts() -> None:
    table = rows("| SST-2 | IMDB |\n")
    assert [row[0] for row in table] == list(COMPARED)
    for name, *cells in table:
        for task, cell in zip(COLUMNS, cells, strict=True):
            text = task in ("sst2", "imdb")
            baseline = COMPARED[name]
            baseline = ON_TEXT.get(baseline, baseline) if text else baseline
            narrow = name.startswith("agent around")
            agent = (AROUND if text else "agent-narrow") if narrow else "agent"
            assert cell == verdict(task, agent, baseline), (name, task)


def test_every_figure_of_an_arm() -> None:
    known = {
        plain(interval)
        for summary in SUMMARIES.values()
        for arm in summary["arms"].values()
        for interval in arm["test"].values()
        if interval
    }
    said = set(PLAIN.findall(SAID))
    assert len(said) > 40
    assert said <= known


def test_the_text_has_differences() -> None:
    assert len(SIGNED.findall(RESULTS)) > 10
    assert len(SIGNED.findall(FINDINGS)) > 50


@pytest.mark.parametrize("said", sorted(set(SIGNED.findall(SAID))))
def test_every_difference_in_the_text(said: tuple[str, str, str]) -> None:
    known = {
        tuple(f"{row['interval'][part]:+.3f}" for part in ("mean", "low", "high"))
        for summary in SUMMARIES.values()
        for row in summary["differences"]
        if row["interval"]
    }
    assert said in known


@pytest.mark.parametrize("name", sorted(SUMMARIES))
def test_reports_are_of_the_shipped_policy_and_say_what_chose_it(name: str) -> None:
    policy = FrozenPolicy.load("ppo-v1")
    known = SUMMARIES[name]["policy"]
    assert known["sha256"] == policy.card["weights_sha256"]
    assert known["developed_on"] == policy.card["developed_on"] == TARGETS
    report = (ROOT / "docs/results" / name / "report.md").read_text(encoding="utf-8")
    assert (
        "Settings of it were chosen by validation data of cifar10, digits, imdb, sst2 and" in report
    )
