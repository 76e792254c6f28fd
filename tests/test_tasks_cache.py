"""The cache: computed once, whole or anew, and no hindrance where it cannot be written."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lr_env.tasks.cache import Entry, cache_folder, cached


class Computation:
    """Counts how often it is asked."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.calls = 0
        self.seconds = seconds

    def __call__(self) -> Mapping[str, Tensor]:
        self.calls += 1
        time.sleep(self.seconds)
        return {"x": torch.arange(50, dtype=torch.uint8), "none": torch.zeros(0, 3)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LR_ENV_CACHE", str(tmp_path / "own"))
    return tmp_path / "own"


def entry_file(folder: Path) -> Path:
    (path,) = folder.rglob("*.safetensors")
    return path


def equal(one: Entry, other: Entry) -> bool:
    return one.hash == other.hash and all(
        torch.equal(own, other.tensors[name]) for name, own in one.tensors.items()
    )


def test_an_entry_is_computed_once_and_for_its_own_key(folder: Path) -> None:
    compute = Computation()
    first, again = (cached("kind", "key", compute) for _ in range(2))
    assert equal(first, again)
    assert compute.calls == 1
    cached("kind", "other key", compute)
    cached("other", "key", compute)
    assert compute.calls == 3
    assert not list(folder.rglob("*.tmp"))


def test_the_hash_tells_contents_names_types_and_shapes_apart() -> None:
    contents: list[dict[str, Tensor]] = [
        {"x": torch.arange(6)},
        {"y": torch.arange(6)},
        {"x": torch.arange(6).int()},
        {"x": torch.arange(6).view(2, 3)},
        {"x": torch.arange(1, 7)},
        {"x": torch.arange(6), "y": torch.arange(6)},
    ]

    def computing(own: dict[str, Tensor]) -> Callable[[], dict[str, Tensor]]:
        return lambda: own

    hashes = {cached("kind", str(i), computing(own)).hash for i, own in enumerate(contents)}
    assert len(hashes) == len(contents)
    assert cached("kind", "again", computing({"x": torch.arange(6)})).hash in hashes


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [truncate, flip_a_bit, empty, Path.unlink])
def test_what_is_broken_is_computed_anew(folder: Path, spoil: Callable[[Path], None]) -> None:
    compute = Computation()
    before = cached("kind", "key", compute)
    spoil(entry_file(folder))
    assert equal(cached("kind", "key", compute), before)
    assert compute.calls == 2
    assert equal(cached("kind", "key", compute), before)
    assert compute.calls == 2


def test_of_several_that_want_an_entry_one_computes_it() -> None:
    compute = Computation(0.2)
    threads = [threading.Thread(target=cached, args=("kind", "key", compute)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compute.calls == 1


def test_a_cache_that_cannot_be_written_is_a_warning(folder: Path) -> None:
    folder.write_text("a file stands where the folder would")
    compute = Computation()
    with pytest.warns(UserWarning, match=r"Nothing is cached.*LR_ENV_CACHE"):
        entry = cached("kind", "key", compute)
    assert equal(entry, Entry(compute(), entry.hash))


def test_the_folder_is_ones_own_then_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LR_ENV_CACHE", "/some/where")
    assert cache_folder() == Path("/some/where")
    monkeypatch.delenv("LR_ENV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/users/cache")
    assert cache_folder() == Path("/users/cache/lr_env")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "lr_env"


def test_a_lock_that_cannot_be_had_is_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(path: Path) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("lr_env.tasks.cache.FileLock", without)
    compute = Computation()
    with pytest.warns(UserWarning, match="Nothing is cached"):
        entry = cached("kind", "key", compute)
    assert compute.calls == 1
    assert len(entry.tensors["x"]) == 50
