"""The report: its numbers are the summary's, every fact is in it, and it stands alone."""

from __future__ import annotations

import io
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
from rich.console import Console

from experiments.about import scale_sentence
from experiments.findings import losses
from experiments.palette import COLOURS, IN_BACKGROUND, looks
from experiments.plots import learning_curves
from experiments.report import print_table, write_report
from lr_env.policy import FrozenPolicy
from tests.reports import Record, agent_ahead, agent_behind, make, record


class Page(HTMLParser):
    """Collects a page's text, and what it would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []
        self.images = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"
        self.loads += [
            value for name, value in attrs
            if name in ("src", "href") and value and not value.startswith("data:image/png;base64,")
        ]  # fmt: skip

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def test_agents_from_many_rates_have_colours_of_their_own(policy: FrozenPolicy) -> None:
    rates = ("1e-5", "1e-4", "0.01", "0.1")
    names = ["adam", "agent", *(f"agent@{rate}" for rate in rates), "agent-narrow"]
    summary, _ = make(policy, agent_behind, " ".join(names))
    drawn = looks(summary["arms"], "accuracy", lower_is_better=False)
    assert len({own.colour for own in drawn.values()}) == len(names)


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_of_many_baselines_the_best_are_picked_out(policy: FrozenPolicy, metric: str) -> None:
    rates = [f"adam-cosine@0.0{place}" for place in range(1, 10)]

    def own(arm: str, seed: int) -> Record:
        place = rates.index(arm) if arm in rates else 0
        return record(arm, seed, 0.5 + 0.01 * place, 0.4 + 0.01 * place, 4)

    summary, _ = make(policy, own, " ".join(["adam", *rates, "agent"]))
    drawn = looks(summary["arms"], metric, lower_is_better=metric == "loss")
    picked = [name for name, look in drawn.items() if look.colour in COLOURS]
    best = rates[3:] if metric == "accuracy" else rates[:6]
    assert picked == ["adam", *best]
    assert set(drawn) == set(summary["arms"])
    grey = [look.label for look in drawn.values() if look.colour == IN_BACKGROUND]
    assert grey == ["3 other baselines", None, None]


def test_labels_say_how_many_seeds_where_they_are_not_alike(policy: FrozenPolicy) -> None:
    summary, _ = make(policy, agent_behind)
    arms = summary["arms"]
    assert [own.label for own in looks(arms, "loss", lower_is_better=True).values()] == [
        "Adam, fixed",
        "Frozen agent",
    ]
    arms["agent"]["runs"] = 2
    (_, agent) = looks(arms, "loss", lower_is_better=True).values()
    assert agent.label == "Frozen agent (2)"


def test_a_legend_of_long_names_stays_in_its_picture(policy: FrozenPolicy) -> None:
    names = "adam adam-linear@5e-5 adam-linear@best agent agent-narrow-linear@5e-5"
    summary, records = make(policy, agent_behind, names)
    drawn = looks(summary["arms"], "accuracy", lower_is_better=False)
    picture = learning_curves(drawn, records, summary["metrics"], 0.9)
    pixels = matplotlib.image.imread(io.BytesIO(picture))
    assert (pixels[:, [0, 1, -2, -1], :3] == 1.0).all()


def test_every_run_has_a_row_of_its_own(tmp_path: Path, policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind, "adam agent@0.01")
    records["adam"][1] |= {"points": [], "diverged_at_step": 0}
    write_report(tmp_path, summary, records)
    rows = pd.read_csv(tmp_path / "runs.csv", dtype={"diverged_at_step": "Int64"})
    assert list(zip(rows["arm"], rows["seed"], strict=True)) == [
        (arm, seed) for arm in ("adam", "agent@0.01") for seed in range(len(records["adam"]))
    ]
    for name, own in rows.groupby("arm"):
        mean = summary["arms"][name]["test"]["accuracy"]["mean"]
        assert own["test_accuracy"].mean() == pytest.approx(mean, rel=1e-5)
        assert set(own["lr"]) == {summary["arms"][name]["lr"]}
    broken = rows.iloc[1]
    assert broken["diverged_at_step"] == 0
    assert pd.isna(broken["epochs_to_target"])
    assert pd.isna(broken["validation_loss"])
    assert rows.iloc[0]["epochs_to_target"] == 2.0


def test_numbers_in_the_reports_are_the_summary_s(tmp_path: Path, policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind, "adam adam-cosine agent agent@0.01")
    write_report(tmp_path, summary, records)
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored == json.loads(json.dumps(summary))
    markdown = (tmp_path / "report.md").read_text()
    page = " ".join(Page((tmp_path / "report.html").read_text()).words)
    for arm in stored["arms"].values():
        for interval in arm["test"].values():
            said = f"{interval['mean']:.4f} [{interval['low']:.4f}, {interval['high']:.4f}]"
            assert said in markdown
            assert said in page
    for row in stored["differences"]:
        low, high = row["interval"]["low"], row["interval"]["high"]
        said = f"{row['verdict']} {row['interval']['mean']:+.4f} [{low:+.4f}, {high:+.4f}]"
        assert said in markdown
        assert said in page
    for text in (markdown, page):
        assert stored["policy"]["sha256"] in text
        assert stored["provenance"]["command"] in text
        assert "Nadeau and Bengio (2003)" in text


def test_arms_are_paired_over_the_seeds_that_both_have(
    tmp_path: Path, policy: FrozenPolicy
) -> None:
    few, whole = (
        make(policy, agent_ahead, "adam adam-cosine agent", counts)
        for counts in ({"adam-cosine": 3}, {})
    )
    summary, records = few
    rows = {(row["baseline"], row["metric"]): row for row in summary["differences"]}
    assert (rows["adam", "loss"]["pairs"], rows["adam-cosine", "loss"]["pairs"]) == (5, 3)
    gaps = [0.1 + 0.001 * (seed % 2) * 0.1 for seed in range(3)]
    assert rows["adam-cosine", "accuracy"]["interval"]["mean"] == pytest.approx(sum(gaps) / 3)
    assert rows["adam-cosine", "accuracy"]["iqm"] is None
    times = {row["baseline"]: row["both"] for row in summary["convergence"]}
    assert times == {"adam": 5, "adam-cosine": 3}
    write_report(tmp_path / "few", summary, records)
    text = (tmp_path / "few/report.md").read_text()
    assert "3 to 5 paired seeds" in text
    assert text.count("(over 3 seeds)") == 2
    assert "over 5 seeds" not in text
    write_report(tmp_path / "whole", *whole)
    assert "3 to 5" not in (tmp_path / "whole/report.md").read_text()


def test_the_start_alone_is_a_control_and_no_agent(tmp_path: Path, policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind, "adam start agent")
    assert {row["baseline"] for row in summary["differences"]} == {"adam", "start"}
    assert {row["agent"] for row in summary["differences"]} == {"agent"}
    write_report(tmp_path, summary, records)
    text = (tmp_path / "report.md").read_text()
    assert "under the policy's own start and schedule, and no actions" in text
    assert not (tmp_path / "rates-start.png").exists()


def test_tables_end_where_the_text_goes_on(tmp_path: Path, policy: FrozenPolicy) -> None:
    write_report(tmp_path, *make(policy, agent_behind, "adam adam@0.1 adam-linear@best agent"))
    lines = [line.strip() for line in (tmp_path / "report.md").read_text().splitlines()]
    after = [b for a, b in itertools.pairwise(lines) if a.startswith("|")]
    # In Markdown a line right after a table is one of its rows.
    assert all(not line or line.startswith("|") for line in after)
    assert "<details><summary>The trials of the tuned arms</summary>" in lines


def test_runs_are_told_once(tmp_path: Path, policy: FrozenPolicy) -> None:
    def own(arm: str, seed: int) -> Record:
        return agent_behind(arm.split("@")[0], seed)

    # Tuned arms of `make` come to 0.003.
    arms = "adam adam-cosine@0.003 adam-cosine@best agent agent-narrow@0.003 agent-narrow@best"
    summary, records = make(policy, own, arms)
    same = {name: arm["same_as"] for name, arm in summary["arms"].items() if arm["same_as"]}
    assert same == {
        "adam-cosine@best": "adam-cosine@0.003", "agent-narrow@best": "agent-narrow@0.003",
    }  # fmt: skip
    write_report(tmp_path, summary, records)
    text = (tmp_path / "report.md").read_text()
    table = text.split("## 1.")[0]
    assert "| Adam, cosine, from 0.003 (also those of Adam, cosine, tuned) |" in table
    assert "\n| Adam, cosine, tuned" not in table
    assert "Adam, cosine 0.003 (the runs of Adam, cosine, from 0.003)" in text
    assert "Frozen agent on cosine, tuned, minus every baseline" not in text
    assert not (tmp_path / "rates-agent-narrow-at-best.png").exists()
    # Fewer seeds are not all of another's.
    fewer, _ = make(policy, own, arms, {"adam-cosine@0.003": 3})
    assert fewer["arms"]["adam-cosine@best"]["same_as"] is None


def test_the_page_stands_alone_and_markdown_finds_its_pictures(
    tmp_path: Path, policy: FrozenPolicy
) -> None:
    summary, records = make(policy, agent_behind, "adam agent agent@0.01")
    write_report(tmp_path, summary, records)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.loads == []
    assert "@import" not in text
    assert "url(" not in text
    linked = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", (tmp_path / "report.md").read_text())
    assert len(linked) == page.images == 6
    for name in linked:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_divergence_is_reported_not_dropped(tmp_path: Path, policy: FrozenPolicy) -> None:
    def diverging(arm: str, seed: int) -> Record:
        return record(arm, seed, 0.5, None if arm == "agent" and seed == 2 else 0.4, 4)

    summary, records = make(policy, diverging)
    write_report(tmp_path, summary, records)
    assert summary["arms"]["agent"]["diverged"] == 1
    assert summary["arms"]["agent"]["test"]["loss"] is None
    assert summary["arms"]["agent"]["convergence"]["reached"] == 4
    assert "Frozen agent diverged in 1 of 5 runs." in losses(summary)
    assert "not finite" in (tmp_path / "report.md").read_text()
    assert "1 of 5" in " ".join(Page((tmp_path / "report.html").read_text()).words)


def test_a_report_of_runs_that_all_diverged_at_once(tmp_path: Path, policy: FrozenPolicy) -> None:
    summary, records = make(policy, lambda arm, seed: record(arm, seed, 0.3, None, 4))
    for own in (own for rows in records.values() for own in rows):
        own["points"].clear()
    write_report(tmp_path, summary, records)
    assert "diverged in 5 of 5" in (tmp_path / "report.html").read_text()


def test_baselines_alone_and_a_task_without_accuracy(tmp_path: Path) -> None:
    def only_loss(arm: str, seed: int) -> Record:
        own = record(arm, seed, 0.0, 0.3 + 0.1 * seed, 4)
        return {**own, "test": {"loss": own["test"]["loss"]}}

    summary, records = make(None, only_loss, "adam adam-cosine")
    write_report(tmp_path, summary, records)
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "No agent is among the arms." in text
        assert "nothing is compared" in text
    assert summary["metrics"] == ["loss"]


def test_the_scale_is_said_everywhere(tmp_path: Path, policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind)
    summary["scale"] = "smoke"
    summary["task"]["rows"] = {"train": "64 of 80 in train"}
    write_report(tmp_path, summary, records)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(summary, console)
    sentence = scale_sentence(summary)
    assert sentence == (
        "Scale smoke: 10 epochs, batch 16, 5 paired seeds, on cpu; samples: train 64 of 80 in "
        "train."
    )
    assert "scale smoke" in console.export_text()
    assert json.loads((tmp_path / "summary.json").read_text())["scale"] == "smoke"
    for name in ("report.md", "report.html"):
        assert sentence in (tmp_path / name).read_text()


def test_the_trainer_s_figures_stand_beside_the_plan_s(
    tmp_path: Path, policy: FrozenPolicy
) -> None:
    def trained(arm: str, seed: int) -> Record:
        figures = {"eval_loss": 0.25 + seed, "eval_accuracy": 0.5, "eval_runtime": 2.0}
        return {**record(arm, seed, 0.5, 0.25, 4), "learning_rates": None, "trainer": figures}

    summary, records = make(policy, trained, "trainer")
    summary["recipe"] = "hf-warmup"
    write_report(tmp_path, summary, records)
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "accuracy 0.856 and loss 0.432 on 500" in text
        assert "eval_runtime" in text
    assert "| HF Trainer's recipe | 2.25 | 0.5 | 2 |" in (tmp_path / "report.md").read_text()


def test_names_are_escaped(tmp_path: Path, policy: FrozenPolicy) -> None:
    policy.name = "<script>alert(1)</script>"
    summary, records = make(policy, agent_behind)
    write_report(tmp_path, summary, records)
    assert "<script>" not in (tmp_path / "report.html").read_text()


def test_the_terminal_s_table_fits_80_columns(policy: FrozenPolicy) -> None:
    summary, _ = make(policy, agent_behind, "adam-plateau agent-narrow")
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(summary, console)
    text = console.export_text()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert "agent-narrow" in text
    assert "0.400" in text
