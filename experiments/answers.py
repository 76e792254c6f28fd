"""The report's questions, in the order that a sceptic asks them, and what the numbers answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments import tables
from experiments.findings import (
    Arms,
    Summary,
    count_verdicts,
    distinct,
    format_convergence,
    is_control,
    join,
    losses,
)
from experiments.hf_recipe import PLAN_ACCURACY, PLAN_LOSS
from experiments.records import Record

BASELINES = ("adam", "trainer")
"""The experiment plan's own arms, of its two recipes."""
FAR = 10.0
"""Base rates of one method that are this many times apart ask what a bad one does."""
TUNABLE = {"plan": "; adam-cosine@best among ARMS is", "hf-warmup": ": the recipe has its rate"}
FAR_APART = {
    "plan": "adam adam@1e-5 adam@0.1 agent agent@1e-5 agent@0.1",
    "hf-warmup": "trainer trainer@1e-3 trainer-agent-wide trainer-agent-wide@1e-3",
}
"""By recipe: what is said of tuning, and the arms that would answer."""


@dataclass(frozen=True)
class Answer:
    """One question with its answer.

    Attributes:
        lines: sentences.
        table: the figures that they rest on.
        shows: beginnings of the names of the pictures that belong here.
    """

    question: str
    lines: list[str]
    table: tables.Table | None = None
    shows: tuple[str, ...] = ()


def answers(summary: Summary, records: dict[str, list[Record]]) -> list[Answer]:
    """Return every question with its answer."""
    return [
        against_plan(summary),
        against_tuned(summary),
        speed(summary),
        bad_rates(summary),
        by_layer(summary, records),
        cost(summary),
        Answer("Where does it lose?", losses(summary) or ["Nowhere in these figures."]),
    ]


def agents_of(summary: Summary) -> Arms:
    """Return the arms with an agent, by name, each agent's runs once."""
    return {name: arm for name, arm in distinct(summary["arms"]).items() if arm["is_agent"]}


def baselines_of(summary: Summary) -> list[str]:
    """Return the baselines that agents are compared with, by name."""
    return list(dict.fromkeys(row["baseline"] for row in summary["differences"]))


def distinct_baselines(summary: Summary) -> list[str]:
    """Return those baselines whose runs are not another's."""
    again = {row["baseline"] for row in summary["differences"] if row["same_as"]}
    return [name for name in baselines_of(summary) if name not in again]


def against_plan(summary: Summary) -> Answer:
    """Return every agent against the plan's own arm."""
    baselines = [name for name in BASELINES if name in summary["arms"]]
    lines = _against(summary, baselines)
    guess = summary["guess_accuracy"]
    lines += [
        f"{summary['arms'][name]['label']} is at chance: it has an accuracy of "
        f"{summary['arms'][name]['test']['accuracy']['mean']:.3f}, a constant guess {guess:.3f}. "
        "Being ahead of it says nothing, and is not counted."
        for name in baselines
        if summary["arms"][name]["at_chance"]
    ]
    if not baselines:
        lines = [
            "The plan's baseline (adam, or trainer in recipe hf-warmup) is not among the arms."
        ]
    if summary["recipe"] == "hf-warmup":
        lines.append(
            f"The plan's own report gives accuracy {PLAN_ACCURACY:g} and loss {PLAN_LOSS:g} on 500 "
            "IMDB reviews after one epoch of this recipe, with bert-base-uncased: the figures to "
            "stand beside."
        )
    table = tables.differences_table(summary, list(agents_of(summary)), baselines)
    return Answer("Does the frozen agent beat the plan's baseline?", lines, table)


def against_tuned(summary: Summary) -> Answer:
    """Return every agent against the tuned schedules, or against all where none is tuned."""
    baselines = baselines_of(summary)
    tuned = [name for name in baselines if summary["arms"][name]["tuned"]]
    others = [name for name in baselines if name not in BASELINES and not is_control(name)]
    if tuned:
        lines = [_trials(tuned, summary)]
    else:
        usual = " Against the schedules at their usual rates:" if others else ""
        lines = [f"No arm was tuned here{TUNABLE[summary['recipe']]}.{usual}"]
    chosen = tuned or others
    agents = list(agents_of(summary))
    # With several agents a table by metric would be a wall; the whole of it comes further down.
    make_table = tables.differences_table if len(agents) < 2 else tables.differences_by_agent
    return Answer(
        "Does it beat a tuned schedule?",
        [*lines, *(_against(summary, chosen) if chosen else [])],
        make_table(summary, agents, chosen) if chosen else None,
        ("differences",),
    )


def _trials(names: Sequence[str], summary: Summary) -> str:
    """Return which rates the tuned arms came to."""
    arms, parts = summary["arms"], []
    for name in names:
        found, same = summary["tuning"][name], arms[name]["same_as"]
        notes = ["at the grid's edge"] if found["at_edge"] else []
        notes += [f"the runs of {arms[same]['label']}"] if same else []
        noted = f" ({join(notes)})" if notes else ""
        parts.append(f"{arms[name]['label'].removesuffix(', tuned')} {found['chosen']:g}{noted}")
    trials = summary["tuning"][names[0]]["trials"]
    each = " each" if len(names) > 1 else ""
    return f"Tuned on validation data with {trials} trials{each}, of which the agent had none: " + (
        "; ".join(parts) + "."
    )


def _against(summary: Summary, baselines: Sequence[str]) -> list[str]:
    """Return than what each agent is better or worse: a sentence for all metrics that are alike."""
    lines = []
    for name, agent in agents_of(summary).items():
        alike: dict[str, list[str]] = {}
        for metric in summary["metrics"]:
            rows = [
                row for row in summary["differences"]
                if (row["agent"], row["metric"]) == (name, metric) and row["baseline"] in baselines
            ]  # fmt: skip
            if rows:
                alike.setdefault(count_verdicts(rows, summary["arms"]), []).append(metric)
        lines += [
            f"{agent['label']}, test {join(metrics)}: {said}." for said, metrics in alike.items()
        ]
    return lines or ["No agent is among these arms: nothing is compared."]


def speed(summary: Summary) -> Answer:
    """Return every agent's time to the target against every baseline's."""
    target = summary["target_accuracy"]
    lines = [] if target else ["This task has no target accuracy."]
    for name, arm in agents_of(summary).items() if target else ():
        rows = [
            row for row in summary["convergence"]
            if row["agent"] == name and not row["same_as"]
            and not summary["arms"][row["baseline"]]["at_chance"]
        ]  # fmt: skip
        lines.append(
            f"{arm['label']}, median epochs to a validation accuracy of {target:g}: "
            f"{format_convergence(arm['convergence'])}." + (f" {_pace(rows)}" if rows else "")
        )
    known = baselines_of(summary)
    chosen = [own for own in known if own in BASELINES or summary["arms"][own]["tuned"]] or known
    question = "How much faster does it reach the target?"
    agents = list(agents_of(summary))
    table = tables.convergence_by_agent(summary, agents, chosen) if target else None
    return Answer(question, lines, table, ("curves", "reached"))


def _pace(rows: list[dict[str, Any]]) -> str:
    """Return `Of 5 baselines it is faster than 3 (2 with p below 0.05) ...`, over common seeds.

    What is gained is counted after Holm's correction too; what is lost stands as it is.
    """
    known = [row for row in rows if row["interval"]]
    if not known:
        return "There is no baseline that gets there in enough of the same seeds to compare."
    parts = []
    for word, sign in (("faster", -1), ("slower", 1)):
        own = [row for row in known if row["interval"]["mean"] * sign > 0]
        if own:
            shown = sum(row["p_value"] < 0.05 for row in own)
            held = sum(row["p_holm"] < 0.05 for row in own)
            kept = (
                f", {held or 'none'} after Holm's correction" if held < shown and sign < 0 else ""
            )
            parts.append(f"{word} than {len(own)} ({shown or 'none'} with p below 0.05{kept})")
    equal = sum(row["interval"]["mean"] == 0 for row in known)
    parts += [f"as fast as {equal}"] if equal else []
    seldom = len(rows) - len(known)
    parts += [f"not compared with {seldom}: both get there in too few seeds"] if seldom else []
    return f"Of {len(rows)} baselines it is {join(parts)}."


def bad_rates(summary: Summary) -> Answer:
    """Return what becomes of every method from base rates far apart."""
    by_method: dict[str, list[dict[str, Any]]] = {}
    for arm in summary["arms"].values():
        if not arm["tuned"]:
            by_method.setdefault(arm["method"], []).append(arm)
    wide = {
        name: arms
        for name, arms in by_method.items()
        if max(arm["lr"] for arm in arms) >= FAR * min(arm["lr"] for arm in arms)
    }
    metric = summary["metrics"][0]
    lines = []
    for arms in wide.values():
        known = [arm["test"][metric]["mean"] for arm in arms if arm["test"][metric]]
        diverged = sum(arm["diverged"] for arm in arms)
        if known:
            lines.append(
                f"{arms[0]['label'].split(', from ')[0]}: test {metric} from {min(known):.4f} to "
                f"{max(known):.4f} over {len(arms)} base rates"
                + (f", {diverged} runs diverged." if diverged else ".")
            )
    if not lines:
        lines = [
            f"No method was started from rates far apart; ARMS='{FAR_APART[summary['recipe']]}' "
            "does."
        ]
    table = tables.base_rates_table(summary, wide)
    return Answer("What happens from a bad base rate?", lines, table, ("base-rates",))


def by_layer(summary: Summary, records: dict[str, list[Record]]) -> Answer:
    """Return the course of the rates in every agent's first run."""
    lines = []
    for name, arm in agents_of(summary).items():
        record = records[name][0]
        rates = record["learning_rates"]
        if not rates["steps"]:
            continue
        middles = [sorted(row)[len(row) // 2] for row in rates["rates"]]
        top = max(range(len(middles)), key=middles.__getitem__)
        share = rates["steps"][top] / record["total_steps"]
        apart = max((max(row) / min(row) for row in rates["rates"] if min(row) > 0), default=1.0)
        lines.append(
            f"{arm['label']}, seed {record['seed']}: {len(rates['steps'])} decisions over "
            f"{len(rates['layers'])} layers. The middle layer's rate begins at {middles[0]:.2g}, "
            f"is highest with {middles[top]:.2g} after {share:.0%} of the steps and ends at "
            f"{middles[-1]:.2g}; layers are at most a factor of {apart:.0f} apart."
        )
    question = "What did it do to each layer, and when?"
    return Answer(question, lines or ["No agent made a decision here."], None, ("rates-",))


def cost(summary: Summary) -> Answer:
    """Return training time, the controller's part of it, and what tuning took."""
    lines = [
        f"{arm['label']}: {arm['controller_seconds'] / max(arm['seconds'], 1e-9):.0%} of its "
        f"{arm['seconds']:.1f} s of training a run are the controller's own; "
        + ("the trials of its schedule" if name in summary["tuning"] else "no trials")
        + " beforehand."
        for name, arm in agents_of(summary).items()
    ]
    lines.append(
        "The controller's own seconds are those of its readings and decisions; that the optimizer "
        "then steps layer by layer comes on top, and is more where layers are many and small. It "
        "keeps two more copies of the trainable weights in memory. Times are of training alone, on "
        f"{summary['device']}, with other things going on in the machine, to one arm more than to "
        "another."
    )
    return Answer("What did it cost?", lines, tables.cost_table(summary))


def in_short(summary: Summary) -> list[str]:
    """Return, for a terminal, against how many baselines every agent is better or worse."""
    lines = []
    for name, arm in agents_of(summary).items():
        rows = [
            row for row in summary["differences"] if row["agent"] == name and not row["same_as"]
        ]
        counts: dict[str, list[str]] = {}
        for metric in summary["metrics"] if rows else ():
            own = count_verdicts([row for row in rows if row["metric"] == metric])
            counts.setdefault(own, []).append(metric)
        lines += [f"{arm['label']}, test {join(names)}: {own}." for own, names in counts.items()]
    return lines + speed(summary).lines
