"""`python -m experiments.publish`: finished evaluations into `docs/results/`, with one table.

Reports, pictures and summaries are copied, and the records behind them packed into one file.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from experiments.archive import ARCHIVE, pack
from experiments.report import render
from lr_env import files
from lr_env.command_line import run_command
from lr_env.errors import InvalidArgumentError

SUMMARY = "summary.json"
KEPT = ("report.md", "runs.csv", SUMMARY)
EVALUATIONS = Path("runs/eval")
RESULTS = Path("docs/results")


@dataclass(frozen=True)
class PublishConfig:
    """Copy the reports of finished evaluations and write a table of them all."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of evaluations; all that have a report under `runs/eval` if none is given."""
    out: Path = RESULTS
    """Folder to publish in; evaluations published before stay, unless they are given again."""


def publish(config: PublishConfig) -> Path:
    """Publish and return the page with the table.

    Raises:
        InvalidArgumentError: a folder without a report.
        DataError: a record is damaged.
    """
    given = config.runs or tuple(sorted(path.parent for path in EVALUATIONS.glob(f"*/{SUMMARY}")))
    if not given:
        raise InvalidArgumentError(
            f"There is no report under {EVALUATIONS}: run `make eval` first."
        )
    # Whatever is wrong with any of them is said before the first is replaced.
    packed = {folder: _packed(folder) for folder in given}
    for folder, records in packed.items():
        # A path such as `.` has no name of its own.
        _copy(folder, config.out / folder.resolve().name, records)
    page = config.out / "README.md"
    files.write_text(page, _page(config.out))
    Console().print(f"Published: {page}", soft_wrap=True)
    return page


def _packed(folder: Path) -> bytes:
    """Return the records behind the report in `folder`, which has to be whole."""
    for name in KEPT:
        if not (folder / name).is_file():
            raise InvalidArgumentError(
                f"{folder} has no report, or lacks its {name}: run the evaluation again, which "
                "computes what is missing and writes the report anew."
            )
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    if not summary.get("records"):
        raise InvalidArgumentError(
            f"The report in {folder} does not name its records, as those of earlier versions: run "
            "the evaluation again."
        )
    return pack(folder, summary["records"])


def _copy(folder: Path, target: Path, records: bytes) -> None:
    """Put report, pictures and records of `folder` in the place of those that were there."""
    pictures = sorted(folder.glob("*.png"))

    def fill(fresh: Path) -> None:
        for path in (*(folder / name for name in KEPT), *pictures):
            shutil.copyfile(path, fresh / path.name)
        files.write_bytes(fresh / ARCHIVE, records)

    files.write_folder(target, fill)


def _page(folder: Path) -> str:
    published = sorted(folder.glob(f"*/{SUMMARY}"))
    summaries = {path.parent.name: json.loads(path.read_text()) for path in published}
    return render("results.md.j2", {"summaries": summaries})


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        PublishConfig, publish, "python -m experiments.publish", "nothing was changed."
    )


if __name__ == "__main__":
    raise SystemExit(main())
