"""What a summary's figures are, and what is said of wins and losses."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.answers import in_short
from experiments.findings import format_convergence, format_p, join, losses
from experiments.statistics import mean_interval
from lr_env.policy import FrozenPolicy
from tests.reports import Record, agent_ahead, agent_behind, make, record


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
        "Frozen agent, test f1: equal within a point to 1 of 1 baselines.",
        "Frozen agent, median epochs to a validation accuracy of 0.9: 4.5. Of 1 baselines it is "
        "slower than 1 (none with p below 0.05).",
    ]


def test_a_tuned_arm_with_the_runs_of_another_counts_once(policy: FrozenPolicy) -> None:
    def own(arm: str, seed: int) -> Record:
        return agent_behind("adam" if arm == "adam@best" else arm, seed)

    alone, _ = make(policy, own, "adam adam-cosine agent")
    # Tuned arms of `make` come to 0.003.
    summary, _ = make(policy, own, "adam@0.003 adam@best adam-cosine agent")
    (worse,) = [row for row in summary["differences"] if row["same_as"]][:1]
    assert (worse["baseline"], worse["same_as"]) == ("adam@best", "adam@0.003")
    by_name = {(row["baseline"], row["metric"]): row["p_holm"] for row in summary["differences"]}
    for row in alone["differences"]:
        name = "adam@best" if row["baseline"] == "adam" else row["baseline"]
        assert by_name[name, row["metric"]] == row["p_holm"]
    assert any("of 2 baselines" in line for line in in_short(summary))
    assert any("Of 2 baselines it is slower" in line for line in in_short(summary))
    (later,) = [line for line in losses(summary) if "reaches the target accuracy later" in line]
    assert "tuned" not in later


def test_many_losses_in_one_metric_are_one_sentence(policy: FrozenPolicy) -> None:
    arms = "adam adam-cosine adam-linear adam-onecycle adam-wsd adam-plateau agent"
    summary, _ = make(policy, agent_behind, arms)
    (worse,) = [line for line in losses(summary) if "is worse than" in line]
    assert worse.startswith("Frozen agent is worse than 6 baselines in test loss, from +0.2200 [")
    assert worse.endswith("Adam, warm-up-stable-decay; Adam, plateau.")


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


def test_a_very_small_p_value_is_said_to_be_so() -> None:
    shown = [format_p(value) for value in (1.0, 0.42, 0.0213, 0.00123, 0.00099, 1e-12, 0.0)]
    assert shown == ["1", "0.42", "0.021", "0.0012", "< 0.001", "< 0.001", "< 0.001"]
