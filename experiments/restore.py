"""`python -m experiments.restore`: records that were published, back to where `make eval` looks.

An evaluation goes on from there: it repeats none of them that has today's settings, task,
policy and versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from experiments.archive import ARCHIVE, unpack
from experiments.publish import EVALUATIONS, RESULTS
from lr_env.command_line import run_command
from lr_env.errors import InvalidArgumentError


@dataclass(frozen=True)
class RestoreConfig:
    """Put published records where evaluations go on from them; what is there stays."""

    published: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of published evaluations; all below `docs/results` that have records if none is
    given."""
    out: Path = EVALUATIONS
    """Folder of the evaluations."""


def restore(config: RestoreConfig) -> None:
    """Unpack every archive.

    Raises:
        InvalidArgumentError: there is none.
        DataError: one of them is damaged.
    """
    given = config.published or tuple(sorted(path.parent for path in RESULTS.glob(f"*/{ARCHIVE}")))
    if not given:
        raise InvalidArgumentError(f"There are no records below {RESULTS}: name their folder.")
    for folder in given:
        # A path such as `.` has no name of its own.
        target = config.out / folder.resolve().name
        new, same, others = unpack(folder / ARCHIVE, target)
        said = f"{target}: {new} records restored, {same} were there."
        if others:
            said += (
                f" In {others} places other records stand, of other settings or damaged: move "
                "them away to have the published ones."
            )
        Console().print(said, highlight=False)


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        RestoreConfig, restore, "python -m experiments.restore", "what is restored is whole."
    )


if __name__ == "__main__":
    raise SystemExit(main())
