"""Tables that the report's answers stand on: cells of text, a smaller line, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.findings import Summary, distinct, format_convergence, format_p


@dataclass(frozen=True)
class Cell:
    """What stands in a cell.

    Attributes:
        small: what stands below it, smaller, line by line.
        kind: a verdict, with hyphens, or nothing, for its colour.
    """

    text: str
    small: tuple[str, ...] = ()
    kind: str = ""

    @property
    def line(self) -> str:
        """The cell in one line, for Markdown."""
        small = [part if part.startswith("[") else f"({part})" for part in self.small]
        return " ".join([self.text, *small])


@dataclass(frozen=True)
class Table:
    """A head and rows; the first column is a name."""

    head: tuple[str, ...]
    rows: list[list[Cell]] = field(default_factory=list)


def differences_table(
    summary: Summary, agents: Sequence[str], baselines: Sequence[str], bootstrap: bool = False
) -> Table | None:
    """Return agents minus baselines: a row for each pair, a column for each metric.

    `bootstrap`: whether the bootstrap intervals are there too.
    """
    arms = summary["arms"]
    table = Table(("agent minus baseline", *summary["metrics"]))
    for agent in agents:
        for baseline in baselines:
            rows = [
                row for row in summary["differences"]
                if (row["agent"], row["baseline"]) == (agent, baseline)
            ]  # fmt: skip
            if rows:
                few = {row["pairs"] for row in rows} - {summary["seeds"]}
                over = tuple(f"over {count} seeds" for count in few)
                name = Cell(arms[agent]["label"], (f"minus {arms[baseline]['label']}", *over))
                table.rows.append([name, *(difference_cell(row, bootstrap) for row in rows)])
    return table if table.rows else None


def differences_by_agent(
    summary: Summary, agents: Sequence[str], baselines: Sequence[str]
) -> Table | None:
    """Return agents minus baselines in the first metric: a row a baseline, a column an agent."""
    arms, metric = summary["arms"], summary["metrics"][0]
    table = Table((f"test {metric}, minus", *(arms[agent]["label"] for agent in agents)))
    rows = {
        (row["agent"], row["baseline"]): row
        for row in summary["differences"]
        if row["metric"] == metric
    }
    for baseline in baselines:
        cells = [difference_cell(rows[agent, baseline]) for agent in agents]
        table.rows.append([Cell(arms[baseline]["label"]), *cells])
    return table if table.rows else None


def difference_cell(row: dict[str, Any], bootstrap: bool = False) -> Cell:
    """Return a verdict with its difference, p values and the share of seeds ahead."""
    if not row["interval"]:
        return Cell(row["verdict"])
    return Cell(
        f"{row['verdict']} {row['interval']['mean']:+.4f}",
        (
            _bounds(row["interval"]),
            *([f"bootstrap {_bounds(row['bootstrap'])}"] if bootstrap else []),
            f"p {format_p(row['p_value'])}, Holm {format_p(row['p_holm'])}",
            f"ahead in {100 * row['probability_of_improvement']:.0f} %",
        ),
        row["verdict"].replace(" ", "-"),
    )


def _bounds(interval: dict[str, float]) -> str:
    return f"[{interval['low']:+.4f}, {interval['high']:+.4f}]"


def convergence_by_agent(
    summary: Summary, agents: Sequence[str], baselines: Sequence[str]
) -> Table | None:
    """Return the baselines' times to the target, and how much sooner every agent gets there."""
    arms = summary["arms"]
    table = Table(("epochs to the target", "baseline", *(arms[agent]["label"] for agent in agents)))
    own = [_convergence_cell(arms[agent]) for agent in agents]
    table.rows.append([Cell("agent"), Cell(""), *own])
    rows = {(row["agent"], row["baseline"]): row for row in summary["convergence"]}
    for baseline in baselines:
        cells = [_speed_up(rows[agent, baseline]) for agent in agents]
        time = _convergence_cell(arms[baseline])
        table.rows.append([Cell(f"against {arms[baseline]['label']}"), time, *cells])
    return table if baselines and agents else None


def _convergence_cell(arm: dict[str, Any]) -> Cell:
    """Return the median time to the target, and below it how many runs never got there."""
    median, _, never = format_convergence(arm["convergence"]).partition(" (")
    return Cell(median, (never.removesuffix(")"),) if never else ())


def _speed_up(row: dict[str, Any]) -> Cell:
    """Return a speed-up with the difference in epochs, and who got there alone."""
    interval = row["interval"]
    alone = [
        f"{who} alone in {row[key]}"
        for who, key in (("agent", "only_own"), ("baseline", "only_other"))
        if row[key]
    ]
    seeds = ", ".join([f"both in {row['both']} seeds", *alone])
    gap = () if interval is None else (
        f"{interval['mean']:+.2f} epochs",
        f"[{interval['low']:+.2f}, {interval['high']:+.2f}]",
        f"p {format_p(row['p_value'])}, Holm {format_p(row['p_holm'])}",
    )  # fmt: skip
    return Cell("-" if row["speedup"] is None else f"x{row['speedup']:.2f}", (*gap, seeds))


def arms_table(summary: Summary) -> Table:
    """Return test metrics, time to the target and diverged runs of all arms, agents first."""
    metrics, target = summary["metrics"], summary["target_accuracy"]
    table = Table(("arm", *metrics, *([f"epochs to {target:g}"] if target else []), "diverged"))
    own = distinct(summary["arms"])
    for name in sorted(own, key=lambda name: not own[name]["is_agent"]):
        arm = own[name]
        again = [other["label"] for other in summary["arms"].values() if other["same_as"] == name]
        notes = [] if arm["runs"] == summary["seeds"] else [f"{arm['runs']} seeds"]
        notes += ["at chance"] if arm["at_chance"] else []
        notes += [f"also those of {label}" for label in again]
        row = [Cell(arm["label"], tuple(notes), "agent" if arm["is_agent"] else "")]
        row += [_interval_cell(arm["test"][metric]) for metric in metrics]
        row += [_convergence_cell(arm)] if target else []
        table.rows.append([*row, Cell(f"{arm['diverged']} of {arm['runs']}")])
    return table


def _interval_cell(own: dict[str, Any] | None) -> Cell:
    """Return a mean with its interval, and the interquartile mean where there is one."""
    if not own:
        return Cell("not finite")
    iqm = (f"IQM {own['iqm']['mean']:.4f}",) if own["iqm"] else ()
    return Cell(f"{own['mean']:.4f}", (f"[{own['low']:.4f}, {own['high']:.4f}]", *iqm))


def base_rates_table(summary: Summary, methods: dict[str, list[dict[str, Any]]]) -> Table | None:
    """Return the first metric of every method at every base rate that it was started from."""
    metric = summary["metrics"][0]
    rates = sorted({arm["lr"] for arms in methods.values() for arm in arms})
    table = Table((f"test {metric}, from", *(f"{rate:g}" for rate in rates)))
    for arms in methods.values():
        by_rate = {arm["lr"]: arm for arm in arms}
        row = [Cell(arms[0]["label"].split(", from ")[0])]
        row += [_result(by_rate[rate], metric) if rate in by_rate else Cell("") for rate in rates]
        table.rows.append(row)
    return table if table.rows else None


def _result(arm: dict[str, Any], metric: str) -> Cell:
    own = _interval_cell(arm["test"][metric])
    diverged = (f"{arm['diverged']} of {arm['runs']} diverged",) if arm["diverged"] else ()
    return replace(own, small=(*own.small, *diverged))


def cost_table(summary: Summary) -> Table:
    """Return every arm's training time, the controller's part, and the trials before."""
    table = Table(("arm", "training, a run", "controller", "samples/s", "trials before"))
    for name, arm in summary["arms"].items():
        part = arm["controller_seconds"] / max(arm["seconds"], 1e-9)
        trials = summary["tuning"].get(name)
        table.rows.append(
            [
                Cell(arm["label"]),
                Cell(f"{arm['seconds']:.2f} s"),
                Cell(f"{part:.0%}" if arm["controller_seconds"] else "-"),
                Cell(f"{arm['samples_per_second']:,.0f}"),
                Cell(f"{trials['trials']}, {trials['seconds']:.0f} s") if trials else Cell("none"),
            ]
        )
    return table


def tuning_table(summary: Summary) -> Table | None:
    """Return the validation accuracy (or loss) of every trial's rate, the chosen one marked."""
    if not summary["tuning"]:
        return None
    rates = [row["lr"] for row in next(iter(summary["tuning"].values()))["table"]]
    table = Table(("validation, trials from", *(f"{rate:g}" for rate in rates)))
    for name, found in summary["tuning"].items():
        cells = [Cell(summary["arms"][name]["label"])]
        for row in found["table"]:
            metric = "accuracy" if row["accuracy"] is not None else "loss"
            text = "diverged" if row[metric] is None else f"{row[metric]:.4f}"
            best = row["lr"] == found["chosen"]
            cells.append(Cell(text, ("best",) if best else (), "better" if best else ""))
        table.rows.append(cells)
    return table


def trainer_table(summary: Summary) -> Table | None:
    """Return the means of what Hugging Face's Trainer reported of every arm."""
    own = {arm["label"]: arm["trainer"] for arm in summary["arms"].values() if arm["trainer"]}
    if not own:
        return None
    names = tuple(next(iter(own.values())))
    return Table(
        ("arm", *names),
        [
            [Cell(label), *(Cell(f"{figures[name]:.4g}") for name in names)]
            for label, figures in own.items()
        ],
    )
