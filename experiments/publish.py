"""`python -m experiments.publish`: finished evaluations into `docs/results/`, with one table.

Reports, pictures and summaries are copied, and the records behind them packed into one file.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import tyro
from rich.console import Console

from experiments.archive import ARCHIVE, pack
from experiments.report import render
from lr_env import files
from lr_env.command_line import run_command
from lr_env.errors import DataError, InvalidArgumentError

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
    # A path such as `.` has no name of its own.
    targets = {folder: config.out / folder.resolve().name for folder in given}
    text = _page(config.out, {target.name: folder for folder, target in targets.items()})
    for folder, records in packed.items():
        _copy(folder, targets[folder], records)
    page = config.out / "README.md"
    files.write_text(page, text)
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
    summary = _summary(folder)
    if not summary.get("records"):
        raise InvalidArgumentError(
            f"The report in {folder} does not name its records, as those of earlier versions: run "
            "the evaluation again."
        )
    return pack(folder, summary["records"])


def _copy(folder: Path, target: Path, records: bytes) -> None:
    """Put report, pictures and records of `folder` in the place of those that were there."""
    # Those of earlier reports may lie there too.
    report = (folder / "report.md").read_text(encoding="utf-8")
    pictures = [path for path in sorted(folder.glob("*.png")) if f"({path.name})" in report]

    def fill(fresh: Path) -> None:
        for path in (*(folder / name for name in KEPT), *pictures):
            shutil.copyfile(path, fresh / path.name)
        files.write_bytes(fresh / ARCHIVE, records)

    files.write_folder(target, fill)


def _page(out: Path, fresh: dict[str, Path]) -> str:
    """Return the page of all that is published in `out` once `fresh`, folders by name, are too."""
    published = {path.parent.name: path.parent for path in out.glob(f"*/{SUMMARY}")}
    folders = dict(sorted({**published, **fresh}.items()))
    summaries = {name: _summary(folder) for name, folder in folders.items()}
    try:
        overlapping = [
            own["task"]["name"] for own in summaries.values() if own["corrected_for_overlap"]
        ]
        return render("results.md.j2", {"summaries": summaries, "overlapping": overlapping})
    except (KeyError, TypeError, jinja2.UndefinedError) as error:
        raise DataError(
            f"A report in {out} is of another version ({error}): move it away, or evaluate and "
            "publish it again."
        ) from error


def _summary(folder: Path) -> dict[str, Any]:
    """Return the summary of a report. Raises DataError if it is damaged."""
    try:
        found: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{folder / SUMMARY} is damaged: run the evaluation again, which writes it anew."
        ) from error
    return found


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        PublishConfig, publish, "python -m experiments.publish", "nothing was changed."
    )


if __name__ == "__main__":
    raise SystemExit(main())
