"""The meta-test's table: printed, as `report.md`, and in full as `summary.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.meta_test.picture import final_losses
from lr_env import files

ARMS = ("fixed", "cosine", "linear", "agent", "agent_validation")
MIDDLE = 1e-3
_VERDICTS = {True: "PASS", False: "FAIL", None: "not run"}


def write_report(folder: Path, summary: dict[str, Any], console: Console) -> None:
    """Write `summary.json`, `report.md` and `final-losses.png` into `folder`; print the tables."""
    files.write_json(folder / "summary.json", summary)
    files.write_bytes(folder / "final-losses.png", final_losses(summary))
    tables = [*_bars(summary), "", *_losses(summary), "", *_controls(summary)]
    text = [*_head(summary), *tables, "", *_gaps(summary), "", *_foot(summary)]
    files.write_text(folder / "report.md", "\n".join(text) + "\n")
    console.print("\n".join(tables), highlight=False, soft_wrap=True, markup=False)


def write_comparison(path: Path, summaries: Sequence[dict[str, Any]], console: Console) -> None:
    """Write and print several policies' bars and losses side by side; reports lie beside it."""
    names = [f"[{summary['policy']}]({summary['policy']}/report.md)" for summary in summaries]
    rule = "|---" * (len(names) + 1) + "|"
    bars = ["| bar | " + " | ".join(names) + " |", rule]
    for own in zip(*(summary["bars"] for summary in summaries), strict=True):
        cells = [f"{_VERDICTS[bar['passed']]}, {bar['short']}" for bar in own]
        bars.append(f"| {own[0]['name']} | " + " | ".join(cells) + " |")
    seeds = " | ".join(str(summary["seeds"]) for summary in summaries)
    bars.append(f"| paired seeds | {seeds} |")
    losses = [
        "Final validation loss from the base rate of 0.001, interquartile mean over seeds; beside "
        "it that of the better schedule, cosine or linear, at the best of its rates.",
        "",
        "| entry | tuned schedule | " + " | ".join(names) + " |",
        f"{rule}---|",
    ]
    for name in dict.fromkeys(name for summary in summaries for name in summary["entries"]):
        cells = [_from_middle(summary["entries"].get(name)) for summary in summaries]
        known = next(own["entries"][name] for own in summaries if name in own["entries"])
        tuned = known["tuned"][known["better_reference"]]["iqm"]
        losses.append(f"| {name} | {tuned:.3f} | " + " | ".join(cells) + " |")
    lines = [*bars, "", *losses]
    files.write_text(path, "# Policies side by side\n\n" + "\n".join(lines) + "\n")
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)


def _from_middle(entry: dict[str, Any] | None) -> str:
    """Return the agent's loss from 0.001 in an entry, where that was run."""
    return "" if entry is None else _loss(entry["arms"]["agent"], MIDDLE) or "-"


def _head(summary: dict[str, Any]) -> list[str]:
    amended, first = summary["amended"], summary["first_seed"]
    seeds = f"{summary['seeds']} paired seeds" + (f", numbers {first} and on" if first else "")
    return [
        f"# Meta-test of {summary['policy']}",
        "",
        *([f"*{amended}*", ""] if amended else []),
        f"{summary['date']}, suite version {summary['suite']}, {seeds}, "
        f"{len(summary['entries'])} entries of part B; docs/meta-test.md says what all this means.",
        "",
    ]


def _bars(summary: dict[str, Any]) -> list[str]:
    lines = ["## Bars", "", "| bar | | figures |", "|---|---|---|"]
    for bar in summary["bars"]:
        lines.append(f"| {bar['name']} | {_VERDICTS[bar['passed']]} | {bar['text']} |")
    return lines


def _losses(summary: dict[str, Any]) -> list[str]:
    rates = summary["rates"]
    lines = [
        "## Final validation loss, interquartile mean over seeds",
        "",
        "Diverged trainings in brackets. *Tuned*: the schedule at its best rate on other seeds.",
        "",
        "| entry | arm | " + " | ".join(f"{rate:g}" for rate in rates) + " | tuned |",
        "|---|---|" + "---|" * (len(rates) + 1),
    ]
    for name, entry in summary["entries"].items():
        for arm in (arm for arm in ARMS if arm in entry["arms"]):
            own = entry["arms"][arm]
            cells = [_loss(own, rate) for rate in rates]
            tuned = entry["tuned"].get(arm)
            best = f"{tuned['iqm']:.3f} ({tuned['rate']:g})" if tuned else ""
            lines.append(f"| {name} | {arm} | " + " | ".join(cells) + f" | {best} |")
        for arm in ("lr_star", "lr_star_kind"):
            own = entry["arms"][arm]
            blank = " | ".join("" for _ in rates)
            lines.append(
                f"| {name} | {arm} | {blank} | {own['iqm'][0]:.3f} ({own['rates'][0]:g}) |"
            )
    return lines


def _loss(arm: dict[str, Any], rate: float) -> str:
    if rate not in arm["rates"]:
        return ""
    index = arm["rates"].index(rate)
    diverged = arm["diverged"][index]
    return f"{arm['iqm'][index]:.3f}" + (f" [{diverged}]" if diverged else "")


def _controls(summary: dict[str, Any]) -> list[str]:
    if not summary["controls"]:
        return []
    names = [name for name, own in summary["entries"].items() if own["adam_like"]]
    lines = [
        "## Agent against controls: log(agent's loss / control's), below 0 where it is better",
        "",
        "| control | median entry | P(improvement) | " + " | ".join(names) + " |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for control, own in summary["controls"].items():
        median, better = own["median"], own["improvement"]
        cells = [f"{own['entries'][name]:+.2f}" for name in names]
        lines.append(
            f"| {control} | {median['mean']:+.3f} [{median['low']:+.3f}, {median['high']:+.3f}] | "
            f"{better['mean']:.2f} [{better['low']:.2f}, {better['high']:.2f}] | "
            + " | ".join(cells) + " |"
        )  # fmt: skip
    return lines


def _gaps(summary: dict[str, Any]) -> list[str]:
    lines = [
        "## Gap to the tuned reference, paired by seed: nats of loss, per cent of the reference",
        "",
        "| entry | arm | reference | base rate | gap | 95 % interval | per cent | margin | in |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in summary["entries"].items():
        for arm, cells in entry["cells"].items():
            for cell in cells:
                gap, percent = cell["gap"], cell["percent"]
                lines.append(
                    f"| {name} | {arm} | {entry['reference']} | {cell['rate']:g} | "
                    f"{gap['mean']:+.4f} | [{gap['low']:+.4f}, {gap['high']:+.4f}] | "
                    f"{percent['mean']:+.1f} [{percent['low']:+.1f}, {percent['high']:+.1f}] | "
                    f"{cell['margin']:.4f} | {'yes' if cell['passed'] else 'no'} |"
                )
    return lines


def _foot(summary: dict[str, Any]) -> list[str]:
    provenance = summary["provenance"]
    versions = ", ".join(f"{name} {own}" for name, own in provenance["versions"].items())
    return [
        "![Final loss over base rate](final-losses.png)",
        "",
        "*Interquartile means over seeds, bands from quartile to quartile; dots: from four rates.*",
        "",
        f"Trainings took {summary['seconds'] / 60:.1f} core minutes, of which "
        f"{summary['baseline_seconds'] / 60:.1f} for baselines. The command:",
        "",
        f"    {provenance['command']}",
        "",
        f"Written at revision {provenance['revision'] or 'unknown'}; trainings done before are of "
        f"the revisions that made them. {versions[0].upper()}{versions[1:]}.",
    ]
