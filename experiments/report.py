"""The report: questions and answers as report.md, report.html and a table on the terminal."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import rich.box
from rich.console import Console
from rich.table import Table

from experiments import findings, plots, tables
from experiments.about import policy_sentences, protocol, scale_sentence
from experiments.answers import agents_of, answers, bad_rates, distinct_baselines, in_short
from experiments.findings import distinct, join
from experiments.palette import looks
from experiments.records import Record
from experiments.run_table import run_table
from lr_env import files

TERMINAL_WIDTH = 80
METRIC_WIDTH = 12
"""Columns of a terminal that a metric takes."""
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows."""

    caption: str
    data: bytes

    @property
    def embedded(self) -> str:
        """The PNG as a data URL's payload."""
        return base64.b64encode(self.data).decode()


def write_report(folder: Path, summary: dict[str, Any], records: dict[str, list[Record]]) -> None:
    """Write `summary.json`, `runs.csv`, pictures, `report.md` and `report.html` into `folder`."""
    pictures = _pictures(summary, records)
    files.write_json(folder / "summary.json", summary)
    files.write_text(folder / "runs.csv", run_table(summary, records))
    for name, picture in pictures.items():
        files.write_bytes(folder / f"{name}.png", picture.data)
    about = {
        "summary": summary,
        "scale": scale_sentence(summary),
        "policy": policy_sentences(summary),
        "protocol": protocol(summary),
        "answers": [
            (answer, _shown(answer.shows, pictures)) for answer in answers(summary, records)
        ],
        "arms": tables.arms_table(summary),
        "details": _details(summary),
        "tuning": tables.tuning_table(summary),
        "trainer": tables.trainer_table(summary),
    }
    files.write_text(folder / "report.md", render("report.md.j2", about))
    files.write_text(folder / "report.html", render("report.html.j2", about))


def _details(summary: dict[str, Any]) -> dict[str, list[tables.Table]]:
    """Return all comparisons of every agent, by its label: metrics, then times to the target."""
    baselines, found = distinct_baselines(summary), {}
    for name, arm in agents_of(summary).items():
        kinds = [tables.differences_table(summary, [name], baselines, bootstrap=True)]
        if summary["target_accuracy"]:
            kinds.append(tables.convergence_by_agent(summary, [name], baselines))
        found[arm["label"]] = [table for table in kinds if table]
    return {label: own for label, own in found.items() if own}


def _shown(beginnings: Sequence[str], pictures: dict[str, Picture]) -> dict[str, Picture]:
    """Return the pictures whose names begin so, in that order."""
    return {
        name: picture
        for beginning in beginnings
        for name, picture in pictures.items()
        if name.startswith(beginning)
    }


def print_table(summary: dict[str, Any], console: Console) -> None:
    """Print the scale, the arms' test metrics, convergence and speed, and what they say."""
    longest = max(
        len(part) for name in summary["arms"] for part in name.replace("@", "\n@").split()
    )
    # As many as fit; the report has all of them.
    metrics = summary["metrics"][: (TERMINAL_WIDTH - 20 - longest) // METRIC_WIDTH]
    table = Table(
        title=f"{summary['task']['name']}, scale {summary['scale']}: test data, "
        + findings.format_seeds(summary),
        caption="means and 95 % intervals",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("arm", no_wrap=True)
    for name in (*metrics, f"epochs\nto {summary['target_accuracy']}", "speed"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, arm in summary["arms"].items():
        diverged = f"\n{arm['diverged']} diverged" if arm["diverged"] else ""
        cells = [_cell(arm["test"][metric]) for metric in metrics]
        convergence = findings.format_convergence(arm["convergence"])
        convergence = convergence.replace(f" of {arm['runs']}", "").replace(" (", "\n").rstrip(")")
        speed = f"{arm['seconds']:.2f} s\n{arm['samples_per_second']:,.0f}/s"
        table.add_row(name.replace("@", "\n@") + diverged, *cells, convergence, speed)
    console.print(scale_sentence(summary), highlight=False)
    console.print(table)
    for sentence in in_short(summary):
        console.print(sentence, highlight=False)


def _cell(interval: dict[str, float] | None) -> str:
    if interval is None:
        return "not finite"
    mean, low, high = (f"{interval[part]:.3f}" for part in ("mean", "low", "high"))
    # Four metrics fit a terminal of 80 columns without the zeros.
    return f"{mean}\n{low.removeprefix('0')}-{high.removeprefix('0')}"


def _pictures(summary: dict[str, Any], records: dict[str, list[Record]]) -> dict[str, Picture]:
    arms, target = summary["arms"], summary["target_accuracy"]
    first = summary["metrics"][0]
    drawn = looks(distinct(arms), first, first in summary["lower_is_better"])
    some = any(own.label is None for own in drawn.values())
    grey = f"; in grey those with a worse test {first}" if some else ""
    bands = ", 95 % t bands" if len(drawn) <= plots.MOST_BANDS else ""
    unlike = len({arm["runs"] for arm in arms.values()}) > 1
    seeds = "seeds (in brackets how many)" if unlike else "seeds"
    pictures = {
        "curves": Picture(
            f"Validation data at 20 points of the budget: means over {seeds}{bands}{grey}",
            plots.learning_curves(drawn, records, summary["metrics"], target),
        )
    }
    if target:
        pictures["reached"] = Picture(
            f"Share of {seeds} whose validation accuracy has reached {target:g}{grey}",
            plots.seeds_at_target(drawn, records, target),
        )
    agents, baselines = agents_of(summary), distinct_baselines(summary)
    metrics = summary["metrics"]
    few = len(agents) * len(baselines) <= plots.MANY_PAIRS
    known = [
        row for row in summary["differences"]
        if row["interval"] and row["agent"] in agents and row["baseline"] in baselines
        and (few or row["metric"] in metrics[:2])
    ]  # fmt: skip
    if known:
        left = "" if few or len(metrics) < 3 else f" (the tables have {join(metrics[2:])} too)"
        pictures["differences"] = Picture(
            "Agent minus baseline on test data: means and 95 % intervals; right of the line the "
            f"agent is better{left}",
            plots.paired_differences(known, summary, drawn),
        )
    if bad_rates(summary).table:
        pictures["base-rates"] = Picture(
            f"Test {first} by base learning rate: means and 95 % intervals",
            plots.base_rates(arms, drawn, first),
        )
    for name, arm in agents.items():
        record = records[name][0]
        if record["learning_rates"]["steps"]:
            pictures[f"rates-{name.replace('@', '-at-')}"] = Picture(
                f"{arm['label']}: the learning rate of every layer, seed {record['seed']}",
                plots.rates_by_layer(record),
            )
    return pictures


def render(template: str, about: dict[str, Any]) -> str:
    """Return a template of this package, filled in; a name that it misses is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        interval=findings.format_interval,
        convergence=findings.format_convergence,
        seeds=findings.format_seeds,
    )
    return environment.get_template(template).render(**about)
