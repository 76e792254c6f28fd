"""How far a run is: its steps, its readings and its test, in what they cost."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.runs import RunSpec, reading_steps
from lr_env.tasks import Task

TRAINED = 3.0
"""Of a sample that is trained on, in samples that are only looked at: there and twice back."""


@dataclass(frozen=True)
class Effort:
    """Shares of a whole run.

    Attributes:
        step: that of an optimizer step.
        reading: that of a look at the validation data.
    """

    step: float
    reading: float

    @classmethod
    def of(cls, spec: RunSpec, task: Task, total_steps: int) -> Effort:
        """Return what a run of `spec` takes; what is left at the end is the test's share."""
        step = TRAINED * min(spec.batch_size, task.size("train"))
        reading = float(task.size("validation"))
        test = task.size("test") if spec.read_test else 0
        whole = step * total_steps + reading * len(reading_steps(total_steps)) + test
        return cls(step / whole, reading / whole)

    def share(self, steps: int, readings: int) -> float:
        """Return the share of the run that so many steps and readings are."""
        return min(1.0, steps * self.step + readings * self.reading)
