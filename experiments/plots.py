"""The report's pictures: learning curves, rates by layer, paired differences."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy import stats

from experiments.convergence import epochs_to_target
from experiments.findings import Arms
from experiments.palette import Look, labels_of, legend_columns, legend_height
from experiments.records import Record
from experiments.summary import LOWER_IS_BETTER

MANY_LAYERS = 24
MANY_PAIRS = 30
MOST_BANDS = 6
"""Arms whose bands can still be told apart."""
LOWEST_RATE = 1e-8
"""Shown for all rates below it: a schedule's last step has the rate 0."""


def learning_curves(
    drawn: dict[str, Look],
    records: dict[str, list[Record]],
    metrics: Sequence[str],
    target: float | None = None,
) -> bytes:
    """Return a PNG of validation accuracy (if there is one) and loss over epochs, with bands."""
    shown = [metric for metric in ("accuracy", "loss") if metric in metrics]
    labels = labels_of(drawn)
    figure = Figure(figsize=(10, 4.2 + legend_height(labels)), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for panel, metric in zip(panels, shown, strict=True):
        _draw_curves(panel, drawn, records, metric)
        panel.set(xlabel="epochs", title=f"validation {metric}")
        if metric == "accuracy" and target:
            panel.axhline(target, color="#8C8C8C", lw=1, label=f"target {target:g}")
        panel.grid(alpha=0.25)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center",
        ncols=legend_columns(labels), frameon=False,
    )  # fmt: skip
    return png(figure)


def seeds_at_target(
    drawn: dict[str, Look], records: dict[str, list[Record]], target: float
) -> bytes:
    """Return a PNG of the share of seeds that have reached the target accuracy, over epochs."""
    labels = labels_of(drawn)
    figure = Figure(figsize=(10, 3.4 + legend_height(labels)), layout="constrained")
    panel = figure.subplots()
    for name, look in drawn.items():
        times = [epochs_to_target(record["points"], target) for record in records[name]]
        known = sorted(time for time in times if time is not None)
        last = max((point["epochs"] for r in records[name] for point in r["points"]), default=0.0)
        shares = [(index + 1) / len(times) for index in range(len(known))]
        panel.step(
            [0.0, *known, last], [0.0, *shares, shares[-1] if shares else 0.0], where="post",
            **_line(look),
        )  # fmt: skip
    panel.set(xlabel="epochs", ylabel="seeds at the target", ylim=(-0.03, 1.03))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    panel.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=legend_columns(labels), frameon=False)
    return png(figure)


def _line(look: Look) -> dict[str, Any]:
    return {
        "color": look.colour, "lw": look.width, "ls": look.dash, "zorder": look.above,
        "label": look.label,
    }  # fmt: skip


def base_rates(arms: Arms, drawn: dict[str, Look], metric: str) -> bytes:
    """Return a PNG of a test metric over the base rate, for methods started from several.

    The first baseline and the first agent are there in any case, as what the others stand beside.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panel = figure.subplots()
    by_method: dict[str, list[str]] = {}
    for name, arm in arms.items():
        if arm["test"][metric] and not arm["tuned"]:
            by_method.setdefault(arm["method"], []).append(name)
    beside = [
        next((arm["method"] for arm in arms.values() if arm["is_agent"] == agent), None)
        for agent in (False, True)
    ]
    for names in (own for name, own in by_method.items() if len(own) > 1 or name in beside):
        first = arms[names[0]]
        look = drawn[first["same_as"] or names[0]]
        names.sort(key=lambda name: float(arms[name]["lr"]))
        results = [arms[name]["test"][metric] for name in names]
        means = [own["mean"] for own in results]
        low = [own["mean"] - own["low"] for own in results]
        high = [own["high"] - own["mean"] for own in results]
        panel.errorbar(
            [arms[name]["lr"] for name in names], means, [low, high], marker="o", capsize=3,
            color=look.colour, label=first["label"].split(", from ")[0], ls=look.dash,
        )  # fmt: skip
    panel.set(xlabel="base learning rate", ylabel=f"test {metric}", xscale="log")
    if metric not in LOWER_IS_BETTER:
        # Intervals of few seeds may leave what there can be; the axis does not.
        bottom, top = panel.get_ylim()
        panel.set_ylim(max(bottom, 0.0), min(top, 1.0))
    panel.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return png(figure)


def _draw_curves(
    panel: Axes, drawn: dict[str, Look], records: dict[str, list[Record]], metric: str
) -> None:
    means: list[float] = []
    settled: list[float] = []
    top: list[float] = []
    for name, look in drawn.items():
        epochs, mean, half = _curve(records[name], metric)
        panel.plot(epochs, mean, **_line(look))
        if len(drawn) <= MOST_BANDS:
            panel.fill_between(
                epochs, mean - half, mean + half, color=look.colour, alpha=0.09, lw=0
            )
        means += [value for value in mean if np.isfinite(value)]
        # The first tenth of the budget would squeeze all that comes after it.
        settled += [value for value in (mean - half)[2:] if np.isfinite(value)]
        top += [value for value in mean + half if np.isfinite(value)]
    positive = [value for value in means if value > 0]
    if metric == "loss" and positive:
        log_axis(panel, max(positive) / min(positive))
    if metric == "accuracy" and settled:
        panel.set_ylim(
            max(0.0, float(np.quantile(settled, 0.02)) - 0.01), min(1.005, max(top) + 0.01)
        )


def log_axis(panel: Axes, ratio: float) -> None:
    """Give the panel a logarithmic axis with plain numbers, more of them where it is short."""
    panel.set_yscale("log")
    steps = (1, 1.5, 2, 3, 4, 5, 6, 7, 8) if ratio < 8 else (1, 2, 5)
    panel.yaxis.set_major_locator(LogLocator(subs=steps))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def rates_by_layer(record: Record) -> bytes:
    """Return a PNG heat map of one agent run: the learning rate of every layer over time."""
    rates = record["learning_rates"]
    values = np.clip(np.asarray(rates["rates"], dtype=float).T, LOWEST_RATE, None)
    layers, edges = rates["layers"], [*rates["steps"], record["total_steps"]]
    # Deep networks have many layers: their rows are lower, and a page still holds them.
    height, font = (0.32, 10) if len(layers) <= MANY_LAYERS else (0.17, 7)
    figure = Figure(figsize=(10, 1.3 + height * max(len(layers), 4)), layout="constrained")
    panel = figure.subplots()
    # A single rate throughout would leave the colour scale without extent.
    norm = LogNorm(values.min() / 1.05, values.max() * 1.05)
    mesh = panel.pcolormesh(edges, np.arange(len(layers) + 1), values, norm=norm, cmap="viridis")
    labels = [f"layer {name}" if len(layers) <= MANY_LAYERS else name for name in layers]
    panel.set_yticks(np.arange(len(layers)) + 0.5, labels, fontsize=font)
    panel.invert_yaxis()
    panel.set(xlabel="optimizer steps")
    figure.colorbar(mesh, label="learning rate")
    return png(figure)


def paired_differences(
    rows: Sequence[dict[str, Any]], summary: dict[str, Any], drawn: dict[str, Look]
) -> bytes:
    """Return a PNG forest plot of agents minus baselines: a panel for each metric, better right."""
    arms = summary["arms"]
    agents = list(dict.fromkeys(row["agent"] for row in rows))
    baselines = list(dict.fromkeys(row["baseline"] for row in rows))
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    pairs = len(agents) * len(baselines)
    # Many pairs are drawn closer, and a page still holds them.
    room, width, dot = (0.3, 2.4, 6.0) if pairs <= MANY_PAIRS else (0.12, 1.3, 3.0)
    height = 1.5 + room * pairs
    figure = Figure(figsize=(10, height * ((len(metrics) + 1) // 2)), layout="constrained")
    panels = figure.subplots((len(metrics) + 1) // 2, 2, squeeze=False, sharey=True).flat
    for panel, metric in itertools.zip_longest(panels, metrics):
        if metric is None:
            panel.set_visible(False)
            continue
        for row in (row for row in rows if row["metric"] == metric):
            offset = (agents.index(row["agent"]) + 0.5) / len(agents) - 0.5
            place = baselines.index(row["baseline"]) + 0.6 * offset
            ends = [row["interval"]["low"], row["interval"]["high"]]
            colour = drawn[row["agent"]].colour
            panel.plot(ends, [place, place], lw=width, color=colour)
            panel.plot(row["interval"]["mean"], place, "o", color=colour, ms=dot)
        panel.axvline(0.0, color="#444444", lw=1)
        if metric in summary["lower_is_better"]:
            panel.invert_xaxis()
        panel.set_title(f"test {metric}: agent better \N{RIGHTWARDS ARROW}", fontsize=10)
        panel.set_yticks(
            range(len(baselines)), [f"against {arms[name]['label']}" for name in baselines]
        )
        panel.set_ylim(len(baselines) - 0.5, -0.5)
        panel.grid(axis="x", alpha=0.25)
        panel.tick_params(labelsize=8)
    labels = [arms[name]["label"] for name in agents]
    handles = [Line2D([], [], color=drawn[name].colour, lw=2.4, marker="o") for name in agents]
    figure.legend(
        handles, labels, loc="outside lower center", ncols=legend_columns(labels), frameon=False
    )
    return png(figure)


def _curve(records: Sequence[Record], metric: str) -> tuple[Any, Any, Any]:
    """Return epochs, means and half-widths of 95 % t intervals; diverged runs end early."""
    longest = max((record["points"] for record in records), key=len)
    epochs = np.array([point["epochs"] for point in longest])
    table = np.full((len(records), len(longest)), np.nan)
    for row, record in enumerate(records):
        for column, point in enumerate(record["points"]):
            value = point.get(metric)
            table[row, column] = np.nan if value is None else value
    count = np.maximum(np.sum(~np.isnan(table), axis=0), 1)
    mean = np.array([own[~np.isnan(own)].mean() if (~np.isnan(own)).any() else np.nan
                     for own in table.T])  # fmt: skip
    spread = np.sqrt(np.nansum((table - mean) ** 2, axis=0) / np.maximum(count - 1, 1))
    return epochs, mean, stats.t.ppf(0.975, np.maximum(count - 1, 1)) * spread / np.sqrt(count)


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file's contents."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
