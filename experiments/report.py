"""The report: a table on the terminal, report.md with pictures, one self-contained report.html."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from rich.console import Console
from rich.table import Table

from experiments import plots
from lr_env import files

TEMPLATES = Path(__file__).parent / "templates"


def write_report(folder: Path, summary: dict[str, Any], records: dict[str, Any]) -> None:
    """Write `summary.json`, the pictures, `report.md` and `report.html` into `folder`."""
    pictures = _pictures(summary, records)
    files.write_json(folder / "summary.json", summary)
    for name, data in pictures.items():
        files.write_bytes(folder / f"{name}.png", data)
    about = {"summary": summary, "sentences": sentences(summary), "losses": losses(summary)}
    embedded = {name: base64.b64encode(data).decode() for name, data in pictures.items()}
    files.write_text(folder / "report.md", _render("report.md.j2", about, list(pictures)))
    files.write_text(folder / "report.html", _render("report.html.j2", about, embedded))


def sentences(summary: dict[str, Any]) -> list[str]:
    """Return what the intervals allow to be said of each agent's accuracy, in plain words."""
    return [
        _sentence(row, summary["arms"])
        for row in summary["differences"]
        if row["metric"] == "accuracy"
    ]


def losses(summary: dict[str, Any]) -> list[str]:
    """Return where an agent is worse, by any metric, or is slower to the target."""
    arms = summary["arms"]
    found = [
        f"{arms[row['agent']]['label']} is worse than {arms[row['baseline']]['label']} in test "
        f"{row['metric']}: {_range(row)}."
        for row in summary["differences"]
        if row["verdict"] == "worse"
    ]
    for agent in (arm for arm in arms.values() if arm["is_agent"]):
        for other in (arm for arm in arms.values() if not arm["is_agent"]):
            found += _slower(agent, other)
        if agent["diverged"]:
            found.append(
                f"{agent['label']} diverged in {agent['diverged']} of {agent['runs']} runs."
            )
    return found


def print_table(summary: dict[str, Any], console: Console) -> None:
    """Print the arms' test metrics, convergence and speed."""
    table = Table(title=f"{summary['task']['name']}: test data, {summary['seeds']} paired seeds")
    table.add_column("arm")
    for name in summary["metrics"]:
        table.add_column(name, justify="right")
    for name in (f"epochs to {summary['target_accuracy']}", "seconds", "samples/s"):
        table.add_column(name, justify="right")
    for key, arm in summary["arms"].items():
        cells = [format_interval(arm["test"][name], digits=3) for name in summary["metrics"]]
        table.add_row(
            key,
            *cells,
            format_convergence(arm["convergence"]),
            f"{arm['seconds']:.2f}",
            f"{arm['samples_per_second']:,.0f}",
        )
    console.print(table)
    for sentence in sentences(summary):
        console.print(f"- {sentence}", highlight=False)


def format_interval(interval: dict[str, float] | None, digits: int = 4) -> str:
    """Return a mean with its interval, or that there is none."""
    if interval is None:
        return "not finite"
    mean, low, high = (f"{interval[part]:.{digits}f}" for part in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def format_convergence(convergence: dict[str, Any] | None) -> str:
    """Return the median time to the target and how many runs got there."""
    if convergence is None:
        return "no target"
    median = convergence["median_epochs"]
    time = "never" if median is None else f"{median:.1f}"
    return f"{time} ({convergence['reached']} of {convergence['runs']})"


def _pictures(summary: dict[str, Any], records: dict[str, Any]) -> dict[str, bytes]:
    arms = summary["arms"]
    pictures = {"curves": plots.learning_curves(arms, records)}
    for name, arm in arms.items():
        record = records[name][0]
        if arm["is_agent"] and record["learning_rates"]["steps"]:
            title = f"{arm['label']}: learning rate of every layer, seed {record['seed']}"
            slug = name.replace("@", "-at-").replace(".", "_")
            pictures[f"rates-{slug}"] = plots.rates_by_layer(record, title)
    for metric in summary["metrics"]:
        if any(r["metric"] == metric and r["interval"] for r in summary["differences"]):
            pictures[f"differences-{metric}"] = plots.paired_differences(
                summary["differences"], arms, metric
            )
    return pictures


def _render(template: str, about: dict[str, Any], pictures: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(interval=format_interval, convergence=format_convergence)
    return environment.get_template(template).render(**about, pictures=pictures)


def _sentence(row: dict[str, Any], arms: dict[str, Any]) -> str:
    agent, baseline = arms[row["agent"]]["label"], arms[row["baseline"]]["label"]
    if row["interval"] is None:
        return f"{agent} against {baseline}: a run's accuracy is not finite."
    words = {
        "better": "is more accurate than",
        "worse": "is less accurate than",
        "undecided": "cannot be told from",
    }[row["verdict"]]
    return f"{agent} {words} {baseline}: {_range(row)}."


def _range(row: dict[str, Any]) -> str:
    interval = row["interval"]
    return (
        f"{interval['mean']:+.4f}, 95 % interval [{interval['low']:+.4f}, "
        f"{interval['high']:+.4f}], Holm-adjusted p = {row['p_holm']:.3g}"
    )


def _slower(agent: dict[str, Any], other: dict[str, Any]) -> Sequence[str]:
    own, rival = agent["convergence"], other["convergence"]
    if own is None or rival["median_epochs"] is None:
        return []
    mine = own["median_epochs"]
    if mine is not None and mine <= rival["median_epochs"]:
        return []
    return [
        f"{agent['label']} reaches the target accuracy later than {other['label']}: median epochs "
        f"{format_convergence(own)} against {format_convergence(rival)}."
    ]
