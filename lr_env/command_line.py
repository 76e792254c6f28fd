"""Command lines: flags from a dataclass, a user's mistake answered in one line."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable, Sequence
from itertools import dropwhile
from operator import not_
from typing import TypeVar

from lr_env.errors import LrEnvError

USAGE_ERROR = 2
INTERRUPTED = 130

Config = TypeVar("Config")


def run_command(
    config: type[Config],
    action: Callable[[Config], object],
    prog: str,
    interrupted: str,
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the command line into `config`, run `action` on it and return the exit status.

    0: done; 2: a mistake of the user's, said in one line on stderr; 130: interrupted, and
    `interrupted` says what is kept. Other exceptions are faults of ours and keep their
    traceback.
    """
    try:
        parsed = _parse(config, prog, arguments)
        action(parsed)
    except LrEnvError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; {interrupted}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parse(config: type[Config], prog: str, arguments: Sequence[str] | None) -> Config:
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(config, prog=prog, args=arguments)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise LrEnvError(f"{_condense(complaint.getvalue())} (all flags: {prog} --help)") from None


def _condense(panel: str) -> str:
    """Return the first paragraph of a framed complaint as one line, and the nearest flag."""
    # Where the terminal's encoding has no frames, a rule follows the title.
    lines = list(dropwhile(not_, (_unframed(line) for line in panel.splitlines()[1:])))
    end = lines.index("") if "" in lines else len(lines)
    text = " ".join(lines[:end]).removesuffix(".")
    text = re.sub(r"^Error parsing [A-Za-z]+: ", "", text)
    if "Perhaps you meant:" in lines:
        flags = re.findall(r"--[\w.-]+", " ".join(lines[end:]))
        text += f"; did you mean {flags[0]}?" if flags else ""
    return text


def _unframed(line: str) -> str:
    """Return a line without its frame; empty for a rule."""
    inner = line.strip().strip("│|╭╮╰╯+").strip()
    return "" if set(inner) <= set("─-") else inner
