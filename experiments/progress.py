"""How far a grid of runs is: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

LINE_EVERY = 60.0
"""Seconds between two lines where there is no terminal."""


class GridProgress:
    """Shows runs done, runs under way counted by their share, and the time left."""

    def __init__(self, total: int, console: Console, title: str) -> None:
        self._total = total
        self._console = console
        self._title = title
        self._started = self._said = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(title, total=total, left="")

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

    def show(self, done: float) -> None:
        """Say that `done` runs, fractions included, are done."""
        now = time.monotonic()
        text = f"{done:.1f} of {self._total} runs, {self.time_left(done, now - self._started)}"
        self._bar.update(self._task, completed=done, left=text)
        if not self._console.is_terminal and now - self._said >= LINE_EVERY:
            self._said = now
            self._console.print(f"{self._title}: {text}", highlight=False, soft_wrap=True)

    def time_left(self, done: float, elapsed: float) -> str:
        """Return how long the rest takes if it goes on as it went."""
        if done <= 0.0:
            return "time left unknown"
        left = elapsed * (self._total - done) / done
        if left < 90:
            return f"{left:.0f} s left"
        return f"{left / 60:.0f} min left" if left < 5400 else f"{left / 3600:.1f} h left"
