"""The answers to a sceptic's questions follow from the summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.answers import FAR, FAR_APART, Answer, answers, in_short
from experiments.arms import parse_arms
from experiments.report import write_report
from lr_env.policy import FrozenPolicy
from tests.reports import Record, agent_behind, make, record


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


def test_against_a_tuned_schedule(policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind, "adam adam-cosine@best agent agent-narrow@best")
    answer = asked(summary, records)["Does it beat a tuned schedule?"]
    assert answer.lines[0] == (
        "Tuned on validation data with 9 trials, of which the agent had none: Adam, cosine 0.003."
    )
    assert answer.table is not None
    assert answer.table.head[1:] == ("Frozen agent", "Frozen agent on cosine, tuned")
    assert [cells[0].text for cells in answer.table.rows] == ["Adam, cosine, tuned"]
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
    assert "Frozen agent, test loss: worse than Adam, cosine." in answer.lines


def test_controls_are_no_schedules_and_are_not_called_baselines(policy: FrozenPolicy) -> None:
    summary, records = make(policy, agent_behind, "adam start agent")
    answer = asked(summary, records)["Does it beat a tuned schedule?"]
    assert len(answer.lines) == 1
    assert answer.table is None
    assert "of 2 baselines and controls" in in_short(summary)[0]


@pytest.mark.parametrize("recipe", FAR_APART)
def test_what_would_answer_belongs_to_the_recipe(recipe: str) -> None:
    arms = parse_arms(FAR_APART[recipe])
    assert {arm.method.recipe for arm in arms} == {recipe}
    assert max(arm.lr for arm in arms) >= FAR * min(arm.lr for arm in arms)


def test_a_few_baselines_are_named_and_many_counted(policy: FrozenPolicy) -> None:
    def lines(arms: str) -> list[str]:
        return asked(*make(policy, agent_behind, arms))["Does it beat a tuned schedule?"].lines[1:]

    few = lines("adam adam-cosine adam-linear agent")
    named = "2 of 2 baselines (Adam, cosine; Adam, warm-up and linear)"
    assert f"Frozen agent, test loss: worse than {named}." in few
    assert f"Frozen agent, test accuracy: cannot be told from {named}." in few
    many = lines("adam adam-cosine adam-linear adam-wsd adam-plateau adam-hd agent")
    assert "Frozen agent, test loss: worse than 5 of 5 baselines." in many


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


def lost(arm: str, seed: int) -> Record:
    """A baseline that guesses one class throughout, and an agent that does not."""
    if arm.startswith("agent"):
        return record(arm, seed, 0.8 + 0.01 * (seed % 3), 0.4, 4)
    return record(arm, seed, 0.3, 0.7 + 0.01 * seed, 99)


def test_ahead_of_a_constant_guess_is_not_counted(policy: FrozenPolicy, tmp_path: Path) -> None:
    summary, records = make(policy, lost)
    assert summary["arms"]["adam"]["at_chance"]
    assert not summary["arms"]["agent"]["at_chance"]
    by_metric = {row["metric"]: row["verdict"] for row in summary["differences"]}
    assert by_metric == {"accuracy": "at chance", "loss": "at chance", "f1": "at chance"}
    plan = asked(summary, records)["Does the frozen agent beat the plan's baseline?"]
    assert plan.lines[0] == (
        "Frozen agent, test accuracy, loss and f1: no contest with Adam, fixed, at chance."
    )
    assert "is at chance: it has an accuracy of 0.300, a constant guess 0." in plan.lines[1]
    speed = asked(summary, records)["How much faster does it reach the target?"]
    assert "baselines it is faster" not in speed.lines[0]
    write_report(tmp_path, summary, records)
    assert (
        "At chance means a mean test accuracy within a point"
        in (tmp_path / "report.md").read_text()
    )


@pytest.mark.parametrize(
    ("agent", "verdicts"),
    [
        # Accuracy and loss of the agent; the baseline, at chance, has 0.3 and 0.7.
        ((0.8, 1.7), {"accuracy": "at chance", "loss": "worse", "f1": "at chance"}),
        ((0.2, 1.7), {"accuracy": "worse", "loss": "worse", "f1": "equal"}),
        ((0.35, 0.6), {"accuracy": "at chance", "loss": "at chance", "f1": "equal"}),
    ],
)
def test_what_an_agent_is_beside_a_constant_guess(
    agent: tuple[float, float], verdicts: dict[str, str], policy: FrozenPolicy
) -> None:
    def own(arm: str, seed: int) -> Record:
        accuracy, loss = agent if arm == "agent" else (0.3, 0.7)
        wobble = 0.001 * (seed % 3) * (arm == "agent")
        return record(arm, seed, accuracy + wobble, loss + wobble, 99)

    summary, _ = make(policy, own)
    assert summary["arms"]["adam"]["at_chance"]
    assert {row["metric"]: row["verdict"] for row in summary["differences"]} == verdicts


def test_times_to_the_target_are_corrected_for_their_number(policy: FrozenPolicy) -> None:
    def sooner(arm: str, seed: int) -> Record:
        return record(arm, seed, 0.8, 0.4, 4 if arm == "agent" else 6 + seed % 3)

    summary, records = make(policy, sooner, "adam adam-cosine adam-linear adam-wsd agent")
    for row in summary["convergence"]:
        assert row["p_holm"] == pytest.approx(4 * row["p_value"])
    (line,) = asked(summary, records)["How much faster does it reach the target?"].lines
    p_value = summary["convergence"][0]["p_value"]
    assert p_value < 0.05 < 4 * p_value
    assert "faster than 4 (4 with p below 0.05, none after Holm's correction)" in line
