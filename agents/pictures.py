"""What a policy does, as a picture for TensorBoard: learning rates by layer over a training."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lr_env.meta_test.pilots import follow
from lr_env.meta_test.suite import PART_A, MetaTestEntry
from lr_env.meta_test.trial import Trial, run_trial
from lr_env.policy import FrozenPolicy

SHOWN = ("deep-mlp", "scenes")
"""Entries of part A: a network from scratch, and one that is fine-tuned."""
RATES = (1e-5, 1e-2)
SEED = 40_000_009
COLOURS = {"matrix": "#0072B2", "normalisation": "#009E73", "embedding": "#CC79A7"}


def rate_trajectories(policy: FrozenPolicy) -> Figure:
    """Return a figure: every layer's learning rate in four trainings that nothing is picked by.

    A panel for each of two entries and two base rates, a line for each layer; seconds of work.
    """
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(len(SHOWN), len(RATES), sharey=True)
    for row, entry in zip(axes, (entry for entry in PART_A if entry.name in SHOWN), strict=True):
        settings = replace(entry.settings(), envelope=policy.envelope)
        trial = run_trial(entry.task, settings, RATES, [SEED], follow(policy))
        for column, panel in enumerate(row):
            _draw(panel, entry, policy, trial, column)
    for panel in axes[-1]:
        panel.set_xlabel("step")
    figure.supylabel("learning rate by layer (pretrained: dashed; base: dotted)")
    return figure


def _draw(
    panel: Axes, entry: MetaTestEntry, policy: FrozenPolicy, trial: Trial, column: int
) -> None:
    own = [policy.envelope.factor(step, entry.total_steps) for step in trial.steps.tolist()]
    for index, layer in enumerate(trial.layers):
        panel.step(
            trial.steps.numpy(),
            trial.rates[:, column, 0, index].exp2().numpy() * own,
            where="post",
            color=COLOURS.get(layer.kind.name.lower(), "#8C8C8C"),
            alpha=0.4 + 0.6 * layer.depth,
            ls="--" if layer.pretrained else "-",
            lw=1.2,
        )
    panel.axhline(RATES[column], color="black", lw=0.8, ls=":")
    panel.set_yscale("log")
    gain = float((trial.initial_loss / trial.loss)[column, 0].log())
    panel.set_title(f"{entry.name} from {RATES[column]:g}: {gain:.2f}", fontsize=9)
    panel.grid(alpha=0.25)
