"""Held-out scores, spread over the worker processes."""

from __future__ import annotations

import itertools

from rich.console import Console
from rich.progress import track
from torch import Tensor

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
        # An entry beside its twin: of two processes, each gets one of them.
        self._picking = [*itertools.chain(*zip(part_a(), part_a(shown=True), strict=True))]

    def mean(self, policy: FrozenPolicy) -> float:
        """Return the mean final potential over part A, both ways, to pick checkpoints by."""
        own = self._workers.score(["policy"], policy, self._picking, PICKING_SEED)["policy"]
        return sum(float(lanes.mean()) for lanes in own) / len(own)

    def report(self, policy: FrozenPolicy, console: Console) -> Comparison:
        """Return `policy` next to its rivals (`scoring.SCORERS`), on the held-out suite.

        Minutes of work, whose progress is shown on `console`.
        """
        suite = held_out_suite(REPORTING_LANES)
        # As many kinds at a time as there are processes: all are busy, and progress is seen.
        kinds, most = list(SCORERS), len(self._workers)
        turns = [kinds[first : first + most] for first in range(0, len(kinds), most)]
        results: dict[str, list[Tensor]] = {}
        for turn in track(turns, "Report on held-out trainings", console=console):
            results |= self._workers.score(turn, policy, suite, REPORTING_SEED)
        return compare([entry.name for entry in suite], results)
