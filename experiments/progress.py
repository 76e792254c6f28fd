"""How far a grid of jobs is: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

LINE_EVERY = 60.0
"""Seconds between two lines where there is no terminal."""


class GridProgress:
    """Shows jobs done, those under way counted by their share, and the time left.

    Args:
        costs: of the jobs, on which the time left rests.
        title: of the grid.
        noun: what the jobs are called.
    """

    def __init__(
        self, costs: Sequence[float], console: Console, title: str, noun: str = "runs"
    ) -> None:
        self._costs = costs
        self._whole = sum(costs)
        self._console = console
        self._title, self._noun = title, noun
        self._started = self._said = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(title, total=self._whole, left="")

    def __enter__(self) -> GridProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, shares: Sequence[float]) -> None:
        """Say what share of every job is done."""
        now = time.monotonic()
        done = sum(cost * share for cost, share in zip(self._costs, shares, strict=True))
        left = self.time_left(done, now - self._started)
        text = f"{sum(shares):.1f} of {len(self._costs)} {self._noun}, {left}"
        self._bar.update(self._task, completed=done, left=text)
        if not self._console.is_terminal and now - self._said >= LINE_EVERY:
            self._said = now
            self._console.print(f"{self._title}: {text}", highlight=False, soft_wrap=True)

    def time_left(self, done: float, elapsed: float) -> str:
        """Return how long the rest takes if it goes on as it went; `done`: by cost."""
        if done <= 0.0:
            return "time left unknown"
        left = elapsed * (self._whole - done) / done
        if left < 90:
            return f"{left:.0f} s left"
        return f"{left / 60:.0f} min left" if left < 5400 else f"{left / 3600:.1f} h left"
