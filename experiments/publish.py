"""`python -m experiments.publish`: finished evaluations into `docs/results/`, with one table.

Reports, pictures and summaries are copied, and the records behind them packed into one file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2
import tyro
from rich.console import Console

from experiments.archive import pack
from experiments.published import SUMMARY, check_whole, put, read_summary
from experiments.report import render
from lr_env import files
from lr_env.command_line import run_command
from lr_env.errors import DataError, InvalidArgumentError

RUN = "evaluation"
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
        put(folder, targets[folder], _shown(folder), records)
    page = config.out / "README.md"
    files.write_text(page, text)
    Console().print(f"Published: {page}", soft_wrap=True)
    return page


def _packed(folder: Path) -> bytes:
    """Return the records behind the report in `folder`, which has to be whole."""
    check_whole(folder, KEPT, RUN)
    summary = read_summary(folder, (), RUN)
    if not summary.get("records"):
        raise InvalidArgumentError(
            f"The report in {folder} does not name its records, as those of earlier versions: run "
            "the evaluation again."
        )
    return pack(folder, summary["records"])


def _shown(folder: Path) -> list[str]:
    """Return the names of what is published of `folder`."""
    # Pictures of earlier reports may lie there too.
    report = (folder / "report.md").read_text(encoding="utf-8")
    pictures = sorted(path.name for path in folder.glob("*.png"))
    return [*KEPT, *(name for name in pictures if f"({name})" in report)]


def _page(out: Path, fresh: dict[str, Path]) -> str:
    """Return the page of all that is published in `out` once `fresh`, folders by name, are too."""
    published = {path.parent.name: path.parent for path in out.glob(f"*/{SUMMARY}")}
    folders = dict(sorted({**published, **fresh}.items()))
    summaries = {name: read_summary(folder, (), RUN) for name, folder in folders.items()}
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


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        PublishConfig, publish, "python -m experiments.publish", "nothing was changed."
    )


if __name__ == "__main__":
    raise SystemExit(main())
