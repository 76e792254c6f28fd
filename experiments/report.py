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
from experiments.answers import agents_of, answers, bad_rates, baselines_of, in_short
from experiments.records import Record
from experiments.run_table import run_table
from lr_env import files

TERMINAL_WIDTH = 80
METRIC_WIDTH = 11
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
    agents, baselines = list(agents_of(summary)), baselines_of(summary)
    about = {
        "summary": summary,
        "scale": scale_sentence(summary),
        "policy": policy_sentences(summary),
        "protocol": protocol(summary),
        "answers": [
            (answer, _shown(answer.shows, pictures)) for answer in answers(summary, records)
        ],
        "details": tables.differences_table(summary, agents, baselines),
        "times": tables.convergence_table(summary, baselines),
        "tuning": tables.tuning_table(summary),
        "trainer": tables.trainer_table(summary),
    }
    files.write_text(folder / "report.md", render("report.md.j2", about))
    files.write_text(folder / "report.html", render("report.html.j2", about))


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
    pictures = {
        "curves": Picture(
            "Validation data at 20 points of the budget: means over seeds"
            + (", 95 % t bands" if len(arms) <= plots.MOST_BANDS else ""),
            plots.learning_curves(arms, records, summary["metrics"], target),
        )
    }
    if target:
        pictures["reached"] = Picture(
            f"Share of seeds whose validation accuracy has reached {target:g}",
            plots.seeds_at_target(arms, records, target),
        )
    known = [row for row in summary["differences"] if row["interval"]]
    if known:
        pictures["differences"] = Picture(
            "Agent minus baseline on test data: means and 95 % intervals; right of the line the "
            "agent is better",
            plots.paired_differences(known, summary),
        )
    if bad_rates(summary).table:
        pictures["base-rates"] = Picture(
            f"Test {summary['metrics'][0]} by base learning rate: means and 95 % intervals",
            plots.base_rates(arms, summary["metrics"][0]),
        )
    for name, arm in arms.items():
        record = records[name][0]
        if arm["is_agent"] and record["learning_rates"]["steps"]:
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
