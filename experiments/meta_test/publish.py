"""`python -m experiments.meta_test.publish`: finished meta-tests into `docs/meta-tests/`.

Reports, pictures and summaries are copied, policies that are not shipped too, and the records
behind them packed, so that every figure can be computed again: `python -m experiments.restore
docs/meta-tests/*/ --out runs/meta-test` puts them back to where `make meta-test` goes on from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from experiments.archive import ARCHIVE, pack
from experiments.meta_test.config import MetaTestConfig
from experiments.meta_test.report import write_comparison
from experiments.meta_test.runner import BASELINES_FOLDER, POLICY
from experiments.published import SUMMARY, check_whole, put, read_summary
from lr_env import files
from lr_env.command_line import run_command
from lr_env.errors import InvalidArgumentError

RUN = "meta-test"
KEPT = ("report.md", "final-losses.png", SUMMARY)
MADE = MetaTestConfig().out
OUT = Path("docs/meta-tests")


@dataclass(frozen=True)
class PublishConfig:
    """Copy the reports of finished meta-tests, and pack their records."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of policies below that of the meta-test; all that have a report below
    `runs/meta-test` if none is given."""
    out: Path = OUT
    """Folder to publish in; policies published before stay, unless they are given again."""


def publish(config: PublishConfig) -> None:
    """Publish, and set all that is published side by side.

    Raises:
        InvalidArgumentError: a folder without a report, or of baselines other than those published.
        DataError: a record is damaged.
    """
    console = Console()
    given = config.runs or tuple(sorted(path.parent for path in MADE.glob(f"*/{SUMMARY}")))
    if not given:
        raise InvalidArgumentError(f"There is no report under {MADE}: run `make meta-test` first.")
    # Whatever is wrong with any of them is said before the first is replaced.
    summaries = {folder: _summary(folder) for folder in given}
    packed = {folder: pack(folder, own["records"]) for folder, own in summaries.items()}
    baselines = {
        folder: pack(folder.resolve().parent / BASELINES_FOLDER, own["baseline_records"])
        for folder, own in summaries.items()
    }
    known = set(baselines.values())
    kept = config.out / BASELINES_FOLDER / ARCHIVE
    names = {folder.resolve().name for folder in given}
    if {path.parent.name for path in config.out.glob(f"*/{SUMMARY}")} - names and kept.is_file():
        # What stays published was measured against these.
        known.add(kept.read_bytes())
    if len(known) > 1:
        raise InvalidArgumentError(
            "These policies, or those published before, are of different seeds, entries or "
            "versions: run one meta-test of them all."
        )
    for folder, records in packed.items():
        put(folder, config.out / folder.resolve().name, _shown(folder), records)
    files.write_bytes(config.out / BASELINES_FOLDER / ARCHIVE, baselines[given[0]])
    all_published = [_summary(path.parent) for path in sorted(config.out.glob(f"*/{SUMMARY}"))]
    write_comparison(config.out / "README.md", all_published, console)
    console.print(f"Published: {config.out}", soft_wrap=True)


def _shown(folder: Path) -> list[str]:
    """Return the names of what is published of a policy; of one that is not shipped, it too."""
    return [*KEPT, *([POLICY] if (folder / POLICY).is_dir() else [])]


def _summary(folder: Path) -> dict[str, Any]:
    """Return the summary of a report that is whole."""
    check_whole(folder, KEPT, RUN)
    return read_summary(folder, ("records", "baseline_records"), RUN)


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        PublishConfig, publish, "python -m experiments.meta_test.publish",
        "what is published is whole.",
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
