"""The meta-test's picture: final loss over the base rate, a panel for each entry."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.plots import log_axis, png

SHOWN = {
    "fixed": ("#8C8C8C", ":", "fixed"),
    "linear": ("#009E73", "--", "linear decay with warm-up"),
    "cosine": ("#0072B2", "-.", "cosine"),
    "lr_star": ("#CC79A7", (0, (1, 1)), "cosine from lr*, whatever the base"),
    "agent": ("#D55E00", "-", "frozen agent"),
    "agent_validation": ("#000000", "--", "frozen agent, shown a validation loss"),
}
COLUMNS = 4


def final_losses(summary: dict[str, Any]) -> bytes:
    """Return a PNG: interquartile means over the seeds, bands from quartile to quartile."""
    entries = summary["entries"]
    rows = -(-len(entries) // COLUMNS)
    figure = Figure(figsize=(13, 2.7 * rows + 0.7), layout="constrained")
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for panel, (name, entry) in zip(panels, entries.items(), strict=False):
        _draw(panel, name, entry)
    for panel in panels[len(entries) :]:
        panel.set_visible(False)
    first = figure.axes[0]
    figure.legend(
        *first.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False
    )
    figure.supylabel("final validation loss", fontsize=9)
    figure.suptitle(f"{summary['policy']}: {summary['seeds']} paired seeds", fontsize=11)
    return png(figure)


def _draw(panel: Axes, name: str, entry: dict[str, Any]) -> None:
    everywhere = entry["arms"]["agent"]["rates"]
    drawn: list[float] = []
    for arm, (colour, dashes, label) in SHOWN.items():
        own = entry["arms"].get(arm)
        if own is None:
            continue
        rates, means, bands = own["rates"], own["iqm"], own["quartiles"]
        if len(rates) == 1:
            rates, means, bands = everywhere, means * len(everywhere), bands * len(everywhere)
        agent = arm == "agent"
        marker = "." if len(rates) < len(everywhere) else None
        panel.plot(
            rates, means, color=colour, ls=dashes, lw=2.0 if agent else 1.4, label=label,
            marker=marker, zorder=3 if agent else 2,
        )  # fmt: skip
        low, high = zip(*bands, strict=True)
        panel.fill_between(rates, low, high, color=colour, alpha=0.12, lw=0)
        drawn += means
    panel.set_xscale("log")
    panel.set_xlabel("base learning rate", fontsize=7)
    log_axis(panel, max(drawn) / min(drawn))
    # One diverged arm would squeeze all others.
    panel.set_ylim(0.85 * min(drawn), min(1.15 * max(drawn), 200 * min(drawn)))
    panel.set_title(f"{name} ({entry['optimizer']})", fontsize=9)
    panel.tick_params(labelsize=7)
    panel.grid(alpha=0.25)
