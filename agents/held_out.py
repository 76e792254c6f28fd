"""Held-out scores, spread over the worker processes."""

from __future__ import annotations

from agents.workers import Workers
from lr_env.held_out import held_out_suite
from lr_env.policy import FrozenPolicy
from lr_env.scoring import Comparison, compare

PICKING_SEED = 20_000_003
REPORTING_SEED = 30_000_001
REPORTING_LANES = 40


class HeldOut:
    """Scores on trainings of the held-out suite.

    Checkpoints are picked on the instances of one seed and reported on those of another.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._suite = held_out_suite()

    def mean(self, policy: FrozenPolicy) -> float:
        """Return the mean final potential over the suite's entries, to pick checkpoints by."""
        own = self._workers.score("policy", policy, self._suite, PICKING_SEED)
        return sum(float(lanes.mean()) for lanes in own) / len(own)

    def report(self, policy: FrozenPolicy) -> Comparison:
        """Return `policy` next to doing nothing and to random actions, on fresh instances."""
        suite = held_out_suite(REPORTING_LANES)
        results = [
            self._workers.score(kind, policy, suite, REPORTING_SEED)
            for kind in ("policy", "identity", "random")
        ]
        return compare([entry.name for entry in suite], *results)
