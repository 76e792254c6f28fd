"""What a report says of the policy and of how things were done.

A policy's card may have been written by anybody: nothing of it is taken for granted.
"""

from __future__ import annotations

from typing import Any

from experiments.arms import METHODS, parse_arms
from experiments.defaults import DOCUMENTED_SEEDS, default_arms
from experiments.findings import format_seeds, join
from lr_env.policy import FrozenPolicy
from lr_env.tasks import FamilyTask


def about_policy(policy: FrozenPolicy, task: str) -> dict[str, Any]:
    """Return what `policy` is and was trained on; None for what its card does not say.

    `saw_task`: whether meta-training drew from `task` itself; None where the card lists no tasks.
    `developed_on`: tasks by whose validation data something of it was chosen. `amended`: what was
    changed of it after its meta-training.
    """
    card = policy.card
    config, trained = _mapping(card.get("config")), _mapping(card.get("trained"))
    listed = card.get("tasks")
    tasks = [_mapping(entry) for entry in listed] if isinstance(listed, list) else []
    kinds = {str(_mapping(entry.get("spec")).get("architecture", "other")) for entry in tasks}
    names = {str(entry.get("name")) for entry in tasks}
    known = card.get("developed_on")
    developed = known if isinstance(known, list) else []
    amended = card.get("amended")
    return {
        "name": policy.name,
        "sha256": card["weights_sha256"],
        "algorithm": config.get("algo"),
        "seed": config.get("seed"),
        "slot_decisions": _number(trained.get("slot_decisions")),
        "seconds": _number(trained.get("seconds")),
        "revision": card.get("revision"),
        "kinds": sorted(kinds),
        "trainings": len(tasks),
        "saw_task": (task == FamilyTask.name or task in names) if tasks else None,
        "developed_on": [own for own in developed if isinstance(own, str)],
        "amended": amended if isinstance(amended, str) else None,
    }


def policy_sentences(summary: dict[str, Any]) -> list[str]:
    """Return what the agent is, in plain words."""
    policy = summary["policy"]
    if policy is None:
        return ["No agent is among the arms."]
    trained = [
        f"by {policy['algorithm'].upper()}" if isinstance(policy["algorithm"], str) else "",
        f"with seed {policy['seed']}" if policy["seed"] is not None else "",
        f"for {policy['slot_decisions']:,} layer decisions" if policy["slot_decisions"] else "",
        f"({policy['seconds'] / 60:.0f} minutes)" if policy["seconds"] else "",
        f"on {policy['trainings']} kinds of generated trainings ({', '.join(policy['kinds'])})"
        if policy["trainings"]
        else "",
    ]
    how = " ".join(part for part in trained if part) or "in a way that its card does not tell"
    task = summary["task"]["name"]
    saw = {
        True: f"Meta-training drew from {task} too: this is no test of transfer.",
        False: f"{task} is not among them.",
        None: f"Whether {task} was among its trainings, its card does not tell.",
    }[policy["saw_task"]]
    developed = policy["developed_on"]
    looked_at = (
        f" Settings of it were chosen by validation data of {join(developed)}: see the protocol."
        if developed
        else ""
    )
    amended = f" Amended afterwards: {policy['amended']}" if policy["amended"] else ""
    return [
        f"The agent is the policy {policy['name']}, meta-trained {how}, then frozen. "
        f"{saw}{looked_at}{amended}",
        f"Its weights have the sha256 {policy['sha256']}.",
    ]


def scale_sentence(summary: dict[str, Any]) -> str:
    """Return scale, budget, device and rows in one sentence, which stands in every output."""
    task = summary["task"]
    plural = "" if task["epochs"] == 1 else "s"
    budget = f"{task['epochs']} epoch{plural}, batch {task['batch_size']}"
    if isinstance(task.get("rows"), dict):
        rows = ", ".join(f"{split} {said}" for split, said in task["rows"].items())
    else:
        rows = ", ".join(f"{count} {split}" for split, count in task["sizes"].items())
    recipe = "" if summary["recipe"] == "plan" else f", recipe {summary['recipe']}"
    return (
        f"Scale {summary['scale']}{recipe}: {budget}, {format_seeds(summary)}, on "
        f"{summary['device']}; samples: {rows}."
    )


def protocol(summary: dict[str, Any]) -> list[str]:
    """Return the rules that the evaluation followed, and what they leave open."""
    lines = [
        "All arms of a seed share split, initial weights, data order and dropout masks.",
        "Test data was read once for each run, at the end of its budget; a run whose loss stops "
        "being finite ends there and is counted as diverged.",
        "Validation data was read at 20 fixed points and chose nothing but the steps of "
        f"ReduceLROnPlateau and the rates of tuned arms; {_who_sees_validation(summary)}.",
        "Differences have t intervals; p values are two-sided, and adjusted by Holm's method "
        "among the baselines of an agent and metric (or time to the target), not over metrics.",
        *_at_chance(summary),
        *_tuning(summary),
        "Seeds were fixed beforehand; nothing was stopped or repeated because of a result. "
        "The protocol is experiments/protocol.md.",
        *_departures(summary),
    ]
    if summary["corrected_for_overlap"]:
        lines.append(
            "Splits of different seeds overlap: the differences' t intervals and p values have the "
            "correction of Nadeau and Bengio (2003); bootstrap intervals and those of single arms "
            "do not, and are too narrow."
        )
    elif isinstance(summary["task"].get("rows"), dict):
        lines.append(
            f"All seeds share the {summary['task']['sizes']['test']:,} test samples: intervals say "
            "how training varies, not how other test data would turn out."
        )
    task = summary["task"]
    data = ", ".join(
        f"{name.replace('_', ' ')} {task[name]}"
        for name in ("source", "hash", "model", "model_hash")
        if isinstance(task.get(name), str)
    )
    return [*lines, f"Data: {data}."] if data else lines


def _departures(summary: dict[str, Any]) -> list[str]:
    """Return where the evaluation has less than the protocol asks of results to be published."""
    asked = DOCUMENTED_SEEDS.get((summary["task"]["name"], summary["scale"]))
    if asked is None or summary["recipe"] != "plan":
        return []
    lines = []
    # Of arms beyond the defaults it asks for the fewest that an evaluation can have.
    default = parse_arms(" ".join(default_arms(summary["task"]["name"], summary["recipe"])))
    runs = [summary["arms"][arm.name]["runs"] for arm in default if arm.name in summary["arms"]]
    if runs and min(runs) < asked:
        lines.append(f"Less than the protocol asks for: {min(runs)} seeds in place of {asked}.")
    if not summary["tuning"]:
        lines.append(
            "Less than the protocol asks for: no arm was tuned, so that its second question, "
            "against a tuned schedule, stays open here."
        )
    return lines


def _at_chance(summary: dict[str, Any]) -> list[str]:
    lost = [arm["label"] for arm in summary["arms"].values() if arm["at_chance"]]
    if not lost:
        return []
    return [
        "At chance means a mean test accuracy within a point of a constant guess' "
        f"({summary['guess_accuracy']:.3f}), or below: {join(lost)}. That an agent is ahead of "
        "such an arm is not counted as better."
    ]


def _tuning(summary: dict[str, Any]) -> list[str]:
    if not summary["tuning"]:
        return ["No arm was tuned for these runs."]
    found = next(iter(summary["tuning"].values()))
    return [
        f"Every tuned arm had {found['trials']} trials, on validation data and with seeds from "
        f"{found['seeds'][0]} that are not among those reported; the agent had none. An agent on a "
        "tuned schedule takes that schedule's rate."
        + (
            " The splits of those seeds share samples with the test data reported here, which can "
            "favour tuned arms."
            if summary["corrected_for_overlap"]
            else ""
        )
    ]


def _who_sees_validation(summary: dict[str, Any]) -> str:
    """Return which agents are shown it."""
    shown = [
        arm["label"]
        for arm in summary["arms"].values()
        if arm["is_agent"] and METHODS[arm["method"]].sees_validation
    ]
    return f"of the agents it is shown to {join(shown)} alone" if shown else "no agent sees it"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
