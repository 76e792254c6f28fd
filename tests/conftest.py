"""What holds in every test: one thread, no network, no data of the person who runs it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lr_env.policy import FrozenPolicy
from lr_env.tasks import register_task
from tests.toys import ToyTask, make_policy


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            pytest.fail(f"a test wanted to connect to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("LR_ENV_DATA", raising=False)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LR_ENV_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def own_data_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep `datasets` to the test's own folder, and off the hub."""
    # Set where they are read: the environment counts only when the packages are first imported.
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny data sets titanic, cifar10, imdb and sst2, in the folder's layout of LR_ENV_DATA."""
    from tests.hub import write_all

    return write_all(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with its vocabulary, as a local checkpoint."""
    from tests.hub import write_encoder

    return write_encoder(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="session", autouse=True)
def toy_task() -> None:
    register_task("toy", ToyTask)


@pytest.fixture
def policy(tmp_path: Path) -> FrozenPolicy:
    """A policy of random weights, with the card of one that was saved."""
    make_policy().save(tmp_path / "policy")
    return FrozenPolicy.load(tmp_path / "policy")


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes in the test's own: there are tests of real ones."""
    from tests.inline import InlineProcesses

    for module in ("agents.workers", "lr_env.stack.processes"):
        monkeypatch.setattr(f"{module}.Processes", InlineProcesses)


@pytest.fixture
def seeded_globally() -> Iterator[None]:
    """A seed for torch's global generator, and its state given back."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(state)
