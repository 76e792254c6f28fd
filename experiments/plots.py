"""The report's pictures: learning curves, rates by layer, paired differences."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from scipy import stats

Record = dict[str, Any]

# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C8C8C", "#F0E442")
AGENT_COLOURS = ("#D55E00", "#000000")


def learning_curves(arms: dict[str, dict[str, Any]], records: dict[str, list[Record]]) -> bytes:
    """Return a PNG of validation accuracy and loss over epochs, means with 95 % bands."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    colours = arm_colours(arms)
    panels = figure.subplots(1, 2)
    for panel, metric in zip(panels, ("accuracy", "loss"), strict=True):
        for name, arm in arms.items():
            epochs, mean, half = _curve(records[name], metric)
            width = 2.2 if arm["is_agent"] else 1.4
            panel.plot(epochs, mean, color=colours[name], lw=width, label=arm["label"])
            panel.fill_between(epochs, mean - half, mean + half, color=colours[name], alpha=0.12)
        panel.set(xlabel="epochs", title=f"validation {metric}")
        panel.grid(alpha=0.25)
    panels[1].set_yscale("log")
    low = min(float(np.nanmin(_curve(own, "accuracy")[1][3:])) for own in records.values())
    panels[0].set_ylim(bottom=max(0.0, low - 0.05))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return png(figure)


def rates_by_layer(record: Record, title: str) -> bytes:
    """Return a PNG heat map of one agent run: the learning rate of every layer over time."""
    rates = record["learning_rates"]
    values = np.clip(np.asarray(rates["rates"], dtype=float).T, 1e-8, None)
    layers, edges = rates["layers"], [*rates["steps"], record["total_steps"]]
    figure = Figure(figsize=(10, 1.4 + 0.34 * max(len(layers), 4)), layout="constrained")
    panel = figure.subplots()
    # A single rate throughout would leave the colour scale without extent.
    norm = LogNorm(values.min() / 1.05, values.max() * 1.05)
    mesh = panel.pcolormesh(edges, np.arange(len(layers) + 1), values, norm=norm, cmap="viridis")
    panel.set_yticks(np.arange(len(layers)) + 0.5, layers)
    panel.invert_yaxis()
    panel.set(xlabel="optimizer steps", title=title)
    figure.colorbar(mesh, label="learning rate")
    return png(figure)


def paired_differences(rows: Sequence[dict[str, Any]], arms: dict[str, Any], metric: str) -> bytes:
    """Return a PNG forest plot of agent minus baseline in `metric`, with 95 % intervals."""
    known = [row for row in rows if row["metric"] == metric and row["interval"] is not None]
    figure = Figure(figsize=(10, 1.2 + 0.36 * max(len(known), 2)), layout="constrained")
    panel = figure.subplots()
    colours = arm_colours(arms)
    for place, row in enumerate(known):
        interval = row["interval"]
        panel.plot([interval["low"], interval["high"]], [place, place], lw=2.2,
                   color=colours[row["agent"]])  # fmt: skip
        panel.plot(interval["mean"], place, "o", color=colours[row["agent"]])
    labels = [f"{arms[r['agent']]['label']} - {arms[r['baseline']]['label']}" for r in known]
    panel.set_yticks(range(len(known)), labels, fontsize=8)
    panel.invert_yaxis()
    panel.axvline(0.0, color="#444444", lw=1)
    side = (
        "left of 0: the agent is better" if metric == "loss" else "right of 0: the agent is better"
    )
    panel.set(xlabel=f"difference in test {metric} ({side})")
    panel.grid(axis="x", alpha=0.25)
    return png(figure)


def arm_colours(arms: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return a colour for each arm: warm and black for agents, the others for baselines."""
    agents = [name for name, arm in arms.items() if arm["is_agent"]]
    others = [name for name in arms if name not in agents]
    return {
        **{name: AGENT_COLOURS[i % len(AGENT_COLOURS)] for i, name in enumerate(agents)},
        **{name: COLOURS[i % len(COLOURS)] for i, name in enumerate(others)},
    }


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
