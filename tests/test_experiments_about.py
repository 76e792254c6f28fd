"""What a report says of policy and data."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.about import about_policy, policy_sentences, protocol
from lr_env.policy import FrozenPolicy
from tests.reports import agent_ahead, make


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


def test_protocol_says_which_agents_see_validation_data(policy: FrozenPolicy) -> None:
    summary, _ = make(policy, agent_ahead)
    (agent,) = (arm for arm in summary["arms"].values() if arm["is_agent"])
    assert "no agent sees it" in " ".join(protocol(summary))
    summary["arms"]["shown"] = {**agent, "method": "agent-validation", "label": "One that is shown"}
    said = " ".join(protocol(summary))
    assert "of the agents it is shown to One that is shown alone" in said
    assert "no agent sees it" not in said


def test_what_was_amended_afterwards_is_said(policy: FrozenPolicy) -> None:
    summary = {"policy": about_policy(policy, "toy"), "task": {"name": "toy"}}
    assert not any("Amended" in said for said in policy_sentences(summary))
    policy.card["amended"] = "one action for all."
    summary["policy"] = about_policy(policy, "toy")
    assert policy_sentences(summary)[0].endswith(" Amended afterwards: one action for all.")
