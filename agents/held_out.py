"""Held-out scores, spread over the worker processes."""

from __future__ import annotations

from rich.console import Console
from rich.progress import track

from agents.workers import Workers
from lr_env.held_out import held_out_suite
from lr_env.meta_test import part_a
from lr_env.policy import FrozenPolicy
from lr_env.scoring import SCORERS, Comparison, compare

PICKING_SEED = 20_000_003
REPORTING_SEED = 30_000_001
REPORTING_LANES = 24


class HeldOut:
    """Scores on trainings that no agent is trained on.

    Checkpoints are picked on part A of the meta-test suite, outside the family, with and without
    a validation loss in sight, and reported on unseen architectures of the family. Part B of the
    suite is left to the meta-test.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._picking = [*part_a(), *part_a(shown=True)]

    def mean(self, policy: FrozenPolicy) -> float:
        """Return the mean final potential over part A, both ways, to pick checkpoints by."""
        own = self._workers.score("policy", policy, self._picking, PICKING_SEED)
        return sum(float(lanes.mean()) for lanes in own) / len(own)

    def report(self, policy: FrozenPolicy, console: Console) -> Comparison:
        """Return `policy` next to its rivals (`scoring.SCORERS`), on the held-out suite.

        Minutes of work, whose progress is shown on `console`.
        """
        suite = held_out_suite(REPORTING_LANES)
        results = {
            kind: self._workers.score(kind, policy, suite, REPORTING_SEED)
            for kind in track(SCORERS, "Report on held-out trainings", console=console)
        }
        return compare([entry.name for entry in suite], results)
