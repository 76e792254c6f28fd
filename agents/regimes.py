"""Data regimes of the mix: how many samples a training has, and how often it passes over them.

Whether a low rate pays hangs on that: on few samples with noisy labels it does, on clean ones it
costs, however often they are passed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lr_env.tasks.family import FamilySpec

# Where networks are cheap, trainings are long: rates of real ones are low for their length alone.
STEPS_PER_ACTION = {"vector": (1, 16), "image": (1, 8), "tokens": (1, 10)}


@dataclass(frozen=True)
class Regime:
    """Ranges that a stack's data and length are drawn from, by kind of input where they differ.

    Attributes:
        passes: over the training data, in a training of middle length.
        samples: for training; they have precedence over passes.
        label_noise: largest share of labels drawn at random; that of the spec if None.
        data: names of generators; those of the spec if None.
        steps_per_action: mini-batches from decision to decision; `STEPS_PER_ACTION` if None.
    """

    passes: tuple[float, float]
    samples: tuple[int, int]
    label_noise: float | None = None
    data: Mapping[str, tuple[str, ...]] | None = None
    steps_per_action: Mapping[str, tuple[int, int]] | None = None


# As in trainings of people: dozens of passes over little data teach nothing but to stop early.
FEW_PASSES = Regime((0.3, 4.0), (500, 16000))
# But where data is learned by heart, with a validation loss and without: there caution pays.
BY_HEART = Regime((12.0, 60.0), (100, 800), label_noise=0.6)
# And to who passes as often over clean data whose classes can be told apart: there it costs.
SEPARABLE = Regime(
    (4.0, 40.0), (200, 4000), label_noise=0.0,
    data={
        "vector": ("blobs", "margin", "sectors"),
        "image": ("glyphs", "bars"),
        "tokens": ("keywords", "majority"),
    },
)  # fmt: skip
# On hard data, too, where there is plenty of it: few samples are memorised, noisy or not.
PLENTY = Regime(
    SEPARABLE.passes, (1500, 8000), label_noise=0.0,
    steps_per_action={"vector": (8, 48), "image": (2, 8), "tokens": (2, 12)},
)  # fmt: skip


def draw_steps_per_action(
    ranges: Mapping[str, tuple[int, int]], inputs: str, random: np.random.Generator
) -> int:
    """Draw an interval log-uniformly from the range of a kind of input."""
    shortest, longest = ranges[inputs]
    return round(math.exp(random.uniform(math.log(shortest), math.log(longest))))


def with_data(
    spec: FamilySpec, regime: Regime, steps: float, random: np.random.Generator
) -> FamilySpec:
    """Return `spec` with the data of `regime`, for trainings of `steps` updates at the middle."""
    fewest, most = regime.passes
    passes = math.exp(random.uniform(math.log(fewest), math.log(most)))
    low, high = regime.samples
    noise = regime.label_noise
    return replace(
        spec,
        train_size=round(min(max(steps * spec.batch_size / passes, low), high)),
        label_noise=spec.label_noise if noise is None else noise,
        data=spec.data if regime.data is None else regime.data[spec.inputs],
    )
