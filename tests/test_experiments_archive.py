"""Published records: whole, equal to those on disk, and never in the way of what is there."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from experiments import archive
from experiments.archive import ARCHIVE, unpack
from experiments.records import RecordFile, digest
from experiments.restore import RestoreConfig, restore
from lr_env.errors import DataError, InvalidArgumentError

RECORDS = {
    "records/adam-seed0": {"seed": 0, "loss": 0.1 + 0.2},
    "records/adam-cosine@0.01-seed1": {"seed": 1, "loss": None},
    "tuning/adam@0.1-seed1000": {"seed": 1000, "loss": 1e-300},
}


def evaluation(folder: Path) -> Path:
    for name, record in RECORDS.items():
        kind, _, own = name.partition("/")
        RecordFile(folder / kind, own, "f").save(record)
    return folder


def pack(folder: Path) -> bytes:
    return archive.pack(folder, dict.fromkeys(RECORDS, "f"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.json")
    }


def line(name: object, record: dict[str, Any], **changes: Any) -> str:
    stored = {"name": name, "fingerprint": "f", "sha256": digest(record), "record": record}
    return json.dumps({**stored, **changes}) + "\n"


def archive_of(path: Path, text: str) -> Path:
    path.write_bytes(lzma.compress(text.encode()))
    return path


def test_what_is_packed_comes_back_to_the_byte(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "toy")
    archive = tmp_path / ARCHIVE
    archive.write_bytes(pack(folder))
    assert unpack(archive, tmp_path / "back") == (3, 0, 0)
    assert unpack(archive, tmp_path / "back") == (0, 3, 0)
    assert contents(tmp_path / "back") == contents(folder)
    assert pack(tmp_path / "back") == archive.read_bytes()


def test_what_is_there_stays(tmp_path: Path) -> None:
    archive = tmp_path / ARCHIVE
    archive.write_bytes(pack(evaluation(tmp_path / "toy")))
    own = RecordFile(tmp_path / "back" / "records", "adam-seed0", "newer")
    own.save({"seed": 0, "loss": 7.0})
    assert unpack(archive, tmp_path / "back") == (2, 0, 1)
    assert own.load() == {"seed": 0, "loss": 7.0}


@pytest.mark.parametrize(
    "name", ["../toy", "records/../../toy", "/records/toy", "elsewhere/toy", "records", "records/"]
)
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    text = line("records/adam-seed0", {"seed": 0}) + line(name, {"seed": 0})
    with pytest.raises(DataError, match="damaged"):
        unpack(archive_of(tmp_path / ARCHIVE, text), tmp_path / "inner" / "back")
    # Nothing of an archive with one such line is written, the sound lines included.
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    "text",
    [
        line("records/a", {"seed": 0}, sha256="0" * 64),
        line(7, {"seed": 0}),
        line("records/a", {"seed": 0}, fingerprint=None),
        "[]\n",
        "no json\n",
    ],
)
def test_a_damaged_line_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged"):
        unpack(archive_of(tmp_path / ARCHIVE, text), tmp_path / "back")


def test_a_file_cut_short_or_absent_is_refused(tmp_path: Path) -> None:
    whole = pack(evaluation(tmp_path / "toy"))
    cut = tmp_path / ARCHIVE
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged"):
        unpack(cut, tmp_path / "back")
    with pytest.raises(DataError, match="No such file"):
        unpack(tmp_path / "nothing", tmp_path / "back")


def test_a_damaged_record_is_not_published(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "toy")
    path = folder / "records" / "adam-seed0.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 5'))
    with pytest.raises(DataError, match=r"adam-seed0\.json"):
        pack(folder)


def test_records_that_the_report_was_not_made_of_are_left_out(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "toy")
    RecordFile(folder / "records", "adam-seed7", "f").save({"seed": 7})
    path = tmp_path / ARCHIVE
    path.write_bytes(pack(folder))
    assert unpack(path, tmp_path / "back") == (3, 0, 0)
    # A run of another policy has made room for itself, and the report's is packed as before.
    RecordFile(folder / "records", "adam-seed0", "of another policy").save({"seed": 0})
    assert pack(folder) == path.read_bytes()


def test_the_command_restores_by_the_folder_s_name(tmp_path: Path) -> None:
    published = tmp_path / "results" / "toy"
    published.mkdir(parents=True)
    (published / ARCHIVE).write_bytes(pack(evaluation(tmp_path / "source")))
    restore(RestoreConfig((published,), tmp_path / "eval"))
    assert contents(tmp_path / "eval" / "toy") == contents(tmp_path / "source")


def test_nothing_to_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match="no records"):
        restore(RestoreConfig())
