"""The report: its numbers are the summary's, its words follow from them, and it stands alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.about import about_policy, policy_sentences, protocol, scale_sentence
from experiments.answers import Answer, answers, in_short
from experiments.arms import parse_arms
from experiments.findings import format_convergence, join, losses
from experiments.report import print_table, write_report
from experiments.statistics import mean_interval
from experiments.summary import summarise
from lr_env.policy import FrozenPolicy
from lr_env.provenance import describe_run
from tests.toys import ToyTask, make_policy

SEEDS = 5
Record = dict[str, Any]


def record(arm: str, seed: int, accuracy: float, loss: float | None, target_at: int) -> Record:
    """A run that reaches an accuracy of 0.9 at the reading numbered `target_at`."""
    points = [
        {"epochs": i / 2, "train_loss": 1 / i, "loss": loss and loss + 1 / i,
         "accuracy": 0.9 if i >= target_at else 0.5}
        for i in range(1, 21)
    ]  # fmt: skip
    rates = {
        "layers": ["embed<b>", "head"], "steps": [0, 5], "rates": [[1e-3, 1e-2], [1e-4, 0.0]],
    }  # fmt: skip
    return {
        "arm": arm, "seed": seed, "diverged_at_step": None if loss is not None else 17,
        "total_steps": 40, "points": points if loss is not None else points[:2],
        "test": {"accuracy": accuracy, "loss": loss, "f1": 0.5}, "seconds": 2.0,
        "controller_seconds": 0.5 if arm.startswith("agent") else 0.0,
        "samples_per_second": 100.0 if arm.startswith("agent") else 300.0,
        "learning_rates": rates if arm.startswith("agent") else None,
    }  # fmt: skip


class Toy(ToyTask):
    target_accuracy = 0.9
    overlapping_splits = True


def make(
    policy: FrozenPolicy | None, own: Callable[[str, int], Record], arms: str = "adam agent"
) -> tuple[dict[str, Any], dict[str, list[Record]]]:
    parsed = [arm.at(0.003) if arm.tuned else arm for arm in parse_arms(arms)]
    records = {arm.name: [own(arm.name, seed) for seed in range(SEEDS)] for arm in parsed}
    task = Toy()
    tuned = {
        arm.name: {
            "trials_of": "adam-cosine", "trials": 9, "seeds": [1000], "seconds": 77.0,
            "chosen": arm.lr, "at_edge": False,
            "table": [{"lr": 0.001, "accuracy": 0.5, "loss": 1.0, "diverged": 0},
                      {"lr": arm.lr, "accuracy": 0.8, "loss": 0.6, "diverged": 0}],
        }
        for arm in parsed if arm.tuned
    }  # fmt: skip
    summary = {
        "scale": "quick",
        "recipe": "plan",
        "device": "cpu",
        "tuning": tuned,
        "task": {"name": "toy", "sizes": task.describe()["sizes"], "epochs": 10, "batch_size": 16},
        "seeds": SEEDS,
        "policy": about_policy(policy, "toy") if policy else None,
        "provenance": describe_run({}),
        "date": "2026-11-24",
        **summarise(parsed, records, task),
    }
    return summary, records


def agent_ahead(arm: str, seed: int) -> Record:
    gain = 0.1 if arm == "agent" else 0.0
    return record(arm, seed, 0.8 + 0.01 * seed + gain + 0.001 * (seed % 2) * gain, 0.4, 4)


def agent_behind(arm: str, seed: int) -> Record:
    agent = arm == "agent"
    return record(
        arm, seed, 0.8 - 0.02 * agent * (seed % 3 - 0.5), 0.4 + (0.2 + 0.01 * seed) * agent,
        9 if agent else 4,
    )  # fmt: skip


@pytest.fixture
def policy(tmp_path: Path) -> FrozenPolicy:
    make_policy().save(tmp_path / "policy")
    return FrozenPolicy.load(tmp_path / "policy")


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


def test_numbers_in_the_reports_are_the_summary_s(tmp_path: Path, policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind, "adam adam-cosine agent agent@0.01")
    write_report(tmp_path, summary, records)
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored == json.loads(json.dumps(summary))
    markdown = (tmp_path / "report.md").read_text()
    page = " ".join(Page((tmp_path / "report.html").read_text()).words)
    for arm in stored["arms"].values():
        for interval in arm["test"].values():
            assert f"{interval['mean']:.4f} [{interval['low']:.4f}, " in markdown
            assert f"{interval['mean']:.4f} {interval['low']:.4f} to {interval['high']:.4f}" in page
    for row in stored["differences"]:
        low, high = row["interval"]["low"], row["interval"]["high"]
        said = f"{row['interval']['mean']:+.4f} [{low:+.4f}, {high:+.4f}]"
        assert f"{row['verdict']} ({said})" in markdown
        assert f"{row['verdict']} {said}" in page
    for text in (markdown, page):
        assert stored["policy"]["sha256"] in text
        assert stored["provenance"]["command"] in text
        assert "Nadeau and Bengio (2003)" in text


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


def test_summary_values(policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind)
    accuracies = [own["test"]["accuracy"] for own in records["agent"]]
    assert summary["arms"]["agent"]["test"]["accuracy"]["low"] == mean_interval(accuracies).low
    assert summary["arms"]["agent"]["convergence"]["median_epochs"] == 4.5
    assert summary["metrics"] == ["accuracy", "loss", "f1"]
    row = next(r for r in summary["differences"] if r["metric"] == "loss")
    assert (row["agent"], row["baseline"], row["verdict"]) == ("agent", "adam", "worse")
    assert row["interval"]["mean"] == pytest.approx(0.22)
    assert row["p_holm"] == row["p_value"]


def test_where_it_loses(policy: FrozenPolicy) -> None:
    summary, _ = make(policy, agent_behind)
    worse, later, behind, cost = losses(summary)
    assert worse.startswith("Frozen agent is worse than Adam, fixed in test loss: +0.2200 [")
    assert later == (
        "Frozen agent reaches the target accuracy later (median epochs 4.5) than Adam, fixed (2.0)."
    )
    assert "behind on average, though no interval shows it: accuracy against 1 of 1" in behind
    assert "takes 3.0 times the baselines' training time" in cost
    assert in_short(summary) == [
        "Frozen agent, test accuracy: cannot be told from 1 of 1 baselines.",
        "Frozen agent, test loss: worse than 1 of 1 baselines.",
        "Frozen agent, test f1: equal to 1 of 1 baselines within a point.",
        "Frozen agent, median epochs to a validation accuracy of 0.9: 4.5. Of 1 baselines it is "
        "slower than 1 (none with p below 0.05).",
    ]


def test_missing_the_target_more_often_is_a_loss(policy: FrozenPolicy) -> None:
    def sometimes(arm: str, seed: int) -> Record:
        return record(arm, seed, 0.8, 0.4, 99 if arm == "agent" and seed == 0 else 4)

    summary, _ = make(policy, sometimes)
    assert (
        "Frozen agent never reaches the target accuracy in 1 of 5 seeds, more often than Adam, "
        "fixed (0)." in losses(summary)
    )


def test_what_does_not_survive_correction_is_said(policy: FrozenPolicy) -> None:
    summary, _ = make(policy, agent_ahead, "adam adam-cosine agent")
    for row in summary["differences"]:
        row["p_holm"] = 0.2
    assert "better than 2 of 2 baselines (none after Holm's correction)" in in_short(summary)[0]


def test_where_it_wins(policy: FrozenPolicy) -> None:
    summary, _ = make(policy, agent_ahead)
    assert "Frozen agent, test accuracy: better than 1 of 1 baselines." in in_short(summary)
    assert [line for line in losses(summary) if "training time" not in line] == []


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


def asked(summary: dict[str, Any], records: dict[str, list[Record]]) -> dict[str, Answer]:
    return {answer.question: answer for answer in answers(summary, records)}


def test_questions_come_in_a_sceptic_s_order(tmp_path: Path, policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind)
    write_report(tmp_path, summary, records)
    order = list(asked(summary, records))
    assert [question.split()[0] for question in order] == [
        "Does", "Does", "How", "What", "What", "What", "Where",
    ]  # fmt: skip
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text().replace("&#39;", "'")
        places = [text.index(f"{index + 1}. {question}") for index, question in enumerate(order)]
        assert places == sorted(places)


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


def test_against_a_tuned_schedule(policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind, "adam adam-cosine@best agent agent-narrow@best")
    answer = asked(summary, records)["Does it beat a tuned schedule?"]
    assert answer.lines[0] == (
        "Adam, cosine, tuned: 0.003 was the best of 9 trials on validation data. The agent had "
        "none."
    )
    assert answer.table is not None
    assert {cells[0].small for cells in answer.table.rows} == {("minus Adam, cosine, tuned",)}
    costs = asked(summary, records)["What did it cost?"]
    assert "Frozen agent: 25% of its 2.0 s" in costs.lines[0]
    assert costs.lines[0].endswith("no trials beforehand.")
    assert costs.lines[1].endswith("the trials of its schedule beforehand.")
    assert costs.table is not None
    assert [cells[-1].text for cells in costs.table.rows] == ["none", "9, 77 s", "none", "9, 77 s"]


def test_nothing_tuned_is_said(policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind, "adam adam-cosine agent")
    answer = asked(summary, records)["Does it beat a tuned schedule?"]
    assert answer.lines[0].startswith("No arm was tuned here")
    assert "Frozen agent against Adam, cosine: " in answer.lines[1]


def test_bad_base_rates_are_no_rivals(tmp_path: Path, policy: FrozenPolicy) -> None:
    def by_rate(arm: str, seed: int) -> Record:
        own = {"adam@1e-05": 0.2, "agent@1e-05": 0.7}.get(arm, 0.8)
        return record(arm, seed, own + 0.01 * seed, 0.4, 4)

    summary, records = make(policy, by_rate, "adam adam@1e-5 agent agent@1e-5")
    write_report(tmp_path, summary, records)
    assert {row["baseline"] for row in summary["differences"]} == {"adam"}
    answer = asked(summary, records)["What happens from a bad base rate?"]
    assert answer.lines == [
        "Adam, fixed: test accuracy from 0.2200 to 0.8200 over 2 base rates.",
        "Frozen agent: test accuracy from 0.7200 to 0.8200 over 2 base rates.",
    ]
    assert (tmp_path / "base-rates.png").exists()
    summary, _ = make(policy, by_rate, "adam@1e-5 agent@1e-5")
    assert {row["baseline"] for row in summary["differences"]} == {"adam@1e-05"}


def test_what_it_did_to_the_layers(policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind)
    (line,) = asked(summary, records)["What did it do to each layer, and when?"].lines
    assert "2 decisions over 2 layers" in line
    assert "begins at 0.01, is highest with 0.01 after 0% of the steps and ends at 0.0001" in line
    assert "at most a factor of 10 apart" in line


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


@pytest.mark.parametrize(
    ("convergence", "said"),
    [
        (None, "no target"),
        ({"reached": 5, "runs": 5, "median_epochs": 2.5}, "2.5"),
        ({"reached": 3, "runs": 5, "median_epochs": 7.5}, "7.5 (2 of 5 never)"),
        ({"reached": 1, "runs": 5, "median_epochs": None}, "4 of 5 never"),
    ],
)
def test_convergence_in_words(convergence: dict[str, Any] | None, said: str) -> None:
    assert format_convergence(convergence) == said


def test_join() -> None:
    assert [join("a"), join("ab"), join("abc")] == ["a", "a and b", "a, b and c"]


@pytest.mark.parametrize("tasks", [None, [], "x", [1], [{"spec": 3}], [{"name": "toy"}]])
def test_cards_of_any_content_are_described(policy: FrozenPolicy, tasks: Any) -> None:
    policy.card.update(tasks=tasks, config=[], trained={"slot_decisions": "many", "seconds": True})
    about = about_policy(policy, "toy")
    assert about["slot_decisions"] is None
    text = policy_sentences({"policy": about, "task": {"name": "toy"}})[0]
    assert ("no test of transfer" in text) == (tasks == [{"name": "toy"}])
    assert ("does not tell" in text) == (not tasks or tasks == "x")


def test_the_family_itself_is_no_test_of_transfer(policy: FrozenPolicy) -> None:
    policy.card["tasks"] = [{"name": "0-mlp-adam", "spec": {"architecture": "mlp"}}]
    assert about_policy(policy, "family")["saw_task"] is True
    assert about_policy(policy, "titanic")["saw_task"] is False


def test_protocol_names_the_data(policy: FrozenPolicy) -> None:
    summary, _ = make(policy, agent_ahead)
    summary["task"].update(source="titanic", hash="abc")
    assert protocol(summary)[-1] == "Data: source titanic, hash abc."
