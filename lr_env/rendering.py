"""What `render` shows: losses and the learning rate of every layer over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

History = Sequence[Mapping[str, Any]]
"""One `info` for each decision so far."""


def picture(history: History, layers: Sequence[str], total_steps: int) -> NDArray[np.uint8]:
    """Return the training so far as an RGB picture `[540, 800, 3]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.4), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    losses, rates = figure.subplots(2, 1, sharex=True)
    steps = [info["step"] for info in history]
    losses.plot(steps, [info["train_loss"] for info in history], label="training", color="#0072B2")
    losses.plot(
        steps, [info["validation_loss"] for info in history], label="validation", color="#D55E00"
    )
    losses.set(yscale="log", ylabel="loss", xlim=(0, total_steps))
    losses.legend(loc="upper right")
    values = np.maximum(np.array([info["learning_rates"] for info in history]).T, 1e-12)
    edges = np.array([*steps, _next_edge(steps, total_steps)], dtype=float)
    norm = LogNorm(values.min() / 1.01, values.max() * 1.01)
    mesh = rates.pcolormesh(edges, np.arange(len(layers) + 1), values, norm=norm, cmap="viridis")
    rates.set(xlabel="mini-batches", ylabel="layer")
    shown = range(0, len(layers), max(1, len(layers) // 12))
    rates.set_yticks([index + 0.5 for index in shown], [layers[index] for index in shown])
    rates.invert_yaxis()
    figure.colorbar(mesh, ax=rates, label="learning rate")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def text(history: History, layers: Sequence[str], total_steps: int) -> str:
    """Return the latest decision as lines of text."""
    info = history[-1]
    width = max(len(name) for name in layers)
    head = (
        f"step {info['step']}/{total_steps}  training loss {info['train_loss']:.4g}  "
        f"validation loss {info['validation_loss']:.4g}"
    )
    rates = info["learning_rates"]
    rows = [f"  {name:<{width}}  {rate:.3g}" for name, rate in zip(layers, rates, strict=True)]
    return "\n".join([head, *rows]) + "\n"


def _next_edge(steps: Sequence[int], total_steps: int) -> int:
    width = steps[-1] - steps[-2] if len(steps) > 1 else 1
    return max(steps[-1] + 1, min(steps[-1] + width, total_steps))
