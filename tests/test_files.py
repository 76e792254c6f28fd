"""Files are whole or absent, and what cannot be written is one sentence."""

import json
import os
from pathlib import Path

import pytest

from lr_env import files
from lr_env.errors import OutputError


def everything_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_writes_create_folders_and_leave_nothing_aside(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a" / "text", "grüezi")
    files.write_json(tmp_path / "a" / "json", {"x": [1, 2.5, None]})
    files.write_text(tmp_path / "a" / "text", "again")
    assert (tmp_path / "a" / "text").read_text(encoding="utf-8") == "again"
    assert json.loads((tmp_path / "a" / "json").read_text()) == {"x": [1, 2.5, None]}
    assert everything_below(tmp_path) == ["a", "a/json", "a/text"]


def test_a_value_that_json_cannot_hold_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    files.write_json(tmp_path / "json", {"x": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(tmp_path / "json", {"x": float("nan")})
    assert json.loads((tmp_path / "json").read_text()) == {"x": 1}


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_text(tmp_path / "text", "old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        files.write_text(tmp_path / "text", "new")
    assert (tmp_path / "text").read_text() == "old"
    assert everything_below(tmp_path) == ["text"]


@pytest.mark.parametrize("where", ["file/below", "file"])
def test_places_that_cannot_be_folders(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("notes")
    with pytest.raises(OutputError, match="choose another folder") as caught:
        files.ensure_folder(tmp_path / where)
    assert "\n" not in str(caught.value)


def test_a_folder_is_swapped_in_whole(tmp_path: Path) -> None:
    target = tmp_path / "run"
    files.write_folder(target, lambda aside: files.write_text(aside / "one", "1"))
    files.write_folder(target, lambda aside: files.write_text(aside / "two", "2"))
    assert everything_below(tmp_path) == ["run", "run/two"]
    assert target.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("x")])
def test_a_folder_that_fails_to_fill_leaves_the_old_one(tmp_path: Path, error: Exception) -> None:
    target = tmp_path / "run"
    files.write_folder(target, lambda aside: files.write_text(aside / "one", "1"))

    def fail(aside: Path) -> None:
        files.write_text(aside / "two", "2")
        raise error

    with pytest.raises(OutputError if isinstance(error, OSError) else KeyError):
        files.write_folder(target, fail)
    assert everything_below(tmp_path) == ["run", "run/one"]


def test_an_output_error_inside_a_folder_keeps_its_own_words(tmp_path: Path) -> None:
    def fail(aside: Path) -> None:
        raise OutputError("Cannot write one: free some space.")

    with pytest.raises(OutputError, match="Cannot write one: free some space"):
        files.write_folder(tmp_path / "run", fail)


def test_an_interrupt_between_the_renames_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "run"
    files.write_folder(target, lambda aside: files.write_text(aside / "one", "1"))
    rename, turns = os.replace, []

    def interrupted(source: Path, place: Path) -> None:
        turns.append(place)
        if len(turns) == 3:  # the file in the new folder, then the old folder, go first
            raise KeyboardInterrupt
        rename(source, place)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_folder(target, lambda aside: files.write_text(aside / "two", "2"))
    assert everything_below(tmp_path) == ["run", "run/one"]


def test_a_folder_that_cannot_be_made_aside_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.tempfile, "mkdtemp", full)
    with pytest.raises(OutputError, match="No space left on device"):
        files.write_folder(tmp_path / "policy", lambda aside: None)


def test_a_folder_that_is_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "latest"
    real.mkdir()
    (real / "old").write_text("old")
    link.symlink_to(real)
    files.write_folder(link, lambda aside: files.write_text(aside / "new", "new"))
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "real"]
    assert [path.name for path in real.iterdir()] == ["new"]
