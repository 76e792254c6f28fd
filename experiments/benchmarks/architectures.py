"""The trainings that are timed: three networks of the family, and what all have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from lr_env.tasks.family.spec import FamilySpec
from lr_env.tasks.family.task import FamilyTask

STEPS_PER_ACTION = 5
VALIDATION_SAMPLES = 256
BATCH = 32
UNENDING = 2000
"""Decisions of trainings that do not end while they are timed; the longer, the dearer to begin."""
ENDING = 100
"""Decisions of trainings that end, and begin anew, while they are timed."""


@dataclass(frozen=True)
class Architecture:
    """A network and its data.

    Attributes:
        spec: of the family.
        ending: trainings at once where they end meanwhile: as many as take `ENDING` decisions in
            seconds.
        weight: how dear it is, in MLPs, for guesses of the time left.
    """

    spec: FamilySpec
    ending: int
    weight: float

    def task(self, seed: int) -> FamilyTask:
        """Return the training for `seed`."""
        return FamilyTask(self.spec, seed)

    @property
    def arguments(self) -> dict[str, Any]:
        """What every environment is made with."""
        return {
            "task": partial(FamilyTask, self.spec),
            "steps_per_action": STEPS_PER_ACTION,
            "validation_samples": VALIDATION_SAMPLES,
        }


def _spec(architecture: Any, inputs: Any, depth: int, width: int, size: int) -> FamilySpec:
    return FamilySpec(
        architecture=architecture, depth=depth, width=width, activation="relu", normalised=False,
        inputs=inputs, size=size, classes=10 if inputs != "tokens" else 4, train_size=1000,
        batch_size=BATCH,
        data={"vector": ("clusters",), "image": ("bars",), "tokens": ("majority",)}[inputs],
        label_noise=0.0, optimizer="adam", validation_size=VALIDATION_SAMPLES,
    )  # fmt: skip


ARCHITECTURES = {
    "MLP 64-32-32-10": Architecture(_spec("mlp", "vector", 2, 32, 64), 256, 1.0),
    "CNN 8x8, 8-16 channels": Architecture(_spec("cnn", "image", 2, 8, 1), 64, 3.0),
    "transformer, 1 block of 16": Architecture(_spec("transformer", "tokens", 1, 16, 8), 64, 3.0),
}
BARRED = "MLP 64-32-32-10"
"""The one that the bars are set for."""
