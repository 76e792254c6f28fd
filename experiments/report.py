"""The report: a table on the terminal, report.md with pictures, one self-contained report.html."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import rich.box
from rich.console import Console
from rich.table import Table

from experiments import findings, plots
from experiments.about import policy_sentences, protocol
from lr_env import files

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


def write_report(folder: Path, summary: dict[str, Any], records: dict[str, Any]) -> None:
    """Write `summary.json`, the pictures, `report.md` and `report.html` into `folder`."""
    pictures = _pictures(summary, records)
    files.write_json(folder / "summary.json", summary)
    for name, picture in pictures.items():
        files.write_bytes(folder / f"{name}.png", picture.data)
    about = {
        "summary": summary,
        "policy": policy_sentences(summary),
        "protocol": protocol(summary),
        "headlines": findings.headlines(summary),
        "losses": findings.losses(summary),
        "comparisons": findings.comparisons(summary),
        "pictures": pictures,
    }
    files.write_text(folder / "report.md", _render("report.md.j2", about))
    files.write_text(folder / "report.html", _render("report.html.j2", about))


def print_table(summary: dict[str, Any], console: Console) -> None:
    """Print the arms' test metrics, convergence and speed, and what the intervals say."""
    table = Table(
        title=f"{summary['task']['name']}: test data, {summary['seeds']} paired seeds",
        caption="means and 95 % intervals",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("arm", no_wrap=True)
    for name in (*summary["metrics"], f"epochs\nto {summary['target_accuracy']}", "speed"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, arm in summary["arms"].items():
        diverged = f"\n{arm['diverged']} diverged" if arm["diverged"] else ""
        cells = [_cell(arm["test"][metric]) for metric in summary["metrics"]]
        convergence = findings.format_convergence(arm["convergence"])
        convergence = convergence.replace(f" of {arm['runs']}", "").replace(" (", "\n").rstrip(")")
        speed = f"{arm['seconds']:.2f} s\n{arm['samples_per_second']:,.0f}/s"
        table.add_row(name + diverged, *cells, convergence, speed)
    console.print(table)
    for sentence in findings.headlines(summary):
        console.print(sentence, highlight=False)


def _cell(interval: dict[str, float] | None) -> str:
    if interval is None:
        return "not finite"
    mean, low, high = (f"{interval[part]:.3f}" for part in ("mean", "low", "high"))
    # Four metrics fit a terminal of 80 columns without the zeros.
    return f"{mean}\n{low.removeprefix('0')}-{high.removeprefix('0')}"


def _pictures(summary: dict[str, Any], records: dict[str, Any]) -> dict[str, Picture]:
    arms = summary["arms"]
    pictures = {
        "curves": Picture(
            "Validation data at 20 points of the budget: means over seeds, 95 % t bands",
            plots.learning_curves(arms, records, summary["metrics"]),
        )
    }
    known = [row for row in summary["differences"] if row["interval"]]
    if known:
        pictures["differences"] = Picture(
            "Agent minus baseline on test data: means and 95 % intervals; right of the line the "
            "agent is better",
            plots.paired_differences(known, summary),
        )
    for name, arm in arms.items():
        record = records[name][0]
        if arm["is_agent"] and record["learning_rates"]["steps"]:
            pictures[f"rates-{name.replace('@', '-at-')}"] = Picture(
                f"{arm['label']}: the learning rate of every layer, seed {record['seed']}",
                plots.rates_by_layer(record),
            )
    return pictures


def _render(template: str, about: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        interval=findings.format_interval,
        difference=findings.format_difference,
        convergence=findings.format_convergence,
    )
    return environment.get_template(template).render(**about)
