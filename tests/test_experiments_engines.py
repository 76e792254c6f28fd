"""Engines: Ray gives the local engine's records, and a killed worker costs only its own run."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.config import EvaluateConfig
from experiments.engines.ray import RayEngine
from experiments.plan import make_plan
from experiments.training import run
from tests.hub import passengers
from tests.toys import make_policy

ROOT = Path(__file__).parent.parent
TIMES = ("seconds", "samples_per_second", "controller_seconds")

pytest.importorskip("ray")

needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")


def evaluate(
    out: Path, *arguments: str, task: str = "wine", **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.evaluate", "--task", task, "--out", str(out),
         *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "COLUMNS": "80", **environment},
    )  # fmt: skip


def ended(process: subprocess.Popen[str], timeout: float = 200) -> tuple[str, str]:
    output, errors = process.communicate(timeout=timeout)
    assert process.returncode == 0, errors
    return output, errors


def stored(out: Path) -> dict[str, Any]:
    records = {}
    for path in (out / "wine" / "records").glob("*.json"):
        own = json.loads(path.read_text())
        records[path.name] = (own["fingerprint"], timeless(own["record"]))
    return records


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in TIMES}


@pytest.mark.slow
def test_ray_s_records_are_those_of_this_process(tmp_path: Path) -> None:
    ended(
        evaluate(
            tmp_path, "--engine", "ray", "--arms", "adam agent", "--seeds", "3", "--epochs", "2",
            "--workers", "2",
        )
    )  # fmt: skip
    config = EvaluateConfig(task="wine", arms=("adam agent",), seeds=3, epochs=2, out=tmp_path)
    plan = make_plan(config)
    specs = [plan.spec(arm, seed) for arm in config.parsed_arms for seed in range(3)]
    files = {spec: plan.file(spec) for spec in specs}
    own = {file.path.name: (file.fingerprint, timeless(run(s))) for s, file in files.items()}
    assert len(own) == 6
    assert stored(tmp_path) == own


def refused(process: subprocess.Popen[str], alone: bool = False) -> str:
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 2
    lines = errors.strip().splitlines()
    assert len(lines) == 1 or not alone, errors
    return lines[-1].removeprefix("python -m experiments.evaluate: ")


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    process = evaluate(tmp_path, "--engine", "ray", "--arms", "adam", RAY_ADDRESS="127.0.0.1:1")
    line = refused(process)
    assert line.startswith("Cannot reach or start the Ray cluster at 127.0.0.1:1 (")
    assert "correct RAY_ADDRESS or unset it" in line


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cluster_that_runs_and_asks_for_its_token_is_joined(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    own = {**token, "HOME": str(tmp_path), "RAY_AUTH_MODE": "token", "PYTHONUNBUFFERED": "1"}
    head = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2",
         f"--port={port}", "--include-dashboard=false", "--disable-usage-stats"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **own},
    )  # fmt: skip
    try:
        assert head.stdout is not None
        while "Ray runtime started" not in head.stdout.readline():
            assert head.poll() is None
        same = ("--engine", "ray", "--arms", "adam", "--epochs", "2", "--seeds", "3")
        there = {"RAY_ADDRESS": f"127.0.0.1:{port}", "HOME": str(tmp_path)}
        assert "give the cluster's token" in refused(evaluate(tmp_path, *same, **there))
        ended(evaluate(tmp_path, *same, **there, **token))
        assert len(stored(tmp_path)) == 3
    finally:
        head.terminate()
        head.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.timeout(600)
def test_an_error_in_a_worker_is_its_own_sentence(engine: str, tmp_path: Path) -> None:
    make_policy().save(tmp_path / "policy")
    # Data that is read by a library with locks of its own.
    passengers().to_csv(tmp_path / "passengers.csv")
    process = evaluate(
        tmp_path, "--engine", engine, "--arms", "agent", "--seeds", "3", "--workers", "2",
        "--epochs", "1000", "--policy", str(tmp_path / "policy"), "--data",
        str(tmp_path / "passengers.csv"), task="titanic", PYTHONUNBUFFERED="1",
    )  # fmt: skip
    assert process.stdout is not None
    while "done before" not in process.stdout.readline():
        assert process.poll() is None
    shutil.rmtree(tmp_path / "policy")
    line = refused(process, alone=engine == "local")
    assert line.startswith("Unknown policy (neither shipped nor a folder)")


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_proc
def test_a_killed_driver_leaves_no_workers_and_loses_no_finished_run(tmp_path: Path) -> None:
    same = ("--arms", "adam", "--seeds", "4", "--epochs", "600", "--workers", "2")
    driver = evaluate(tmp_path, *same)
    records = tmp_path / "wine" / "records"
    deadline = time.monotonic() + 120
    while not list(records.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = children_of(driver.pid)
    assert children
    driver.kill()
    driver.communicate(timeout=30)
    before = {path: path.stat().st_mtime_ns for path in records.glob("*.json")}
    assert 0 < len(before) < 4
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.1)
    output, _ = ended(evaluate(tmp_path, *same))
    assert f"4 runs, {len(before)} of them done before" in output
    assert {path: path.stat().st_mtime_ns for path in before} == before


def children_of(parent: int) -> list[int]:
    """Return the running processes that are below `parent`."""
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [pid for pid in pids if pid != parent and _is_below(pid, parent)]


def workers_of(driver: int) -> list[int]:
    """Return the processes in which Ray computes our runs."""
    listed = subprocess.run(
        ["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True
    ).stdout
    found = [line.split(None, 1) for line in listed.splitlines() if "ray::_work" in line]
    return [int(pid) for pid, _ in found if _is_below(int(pid), driver)]


def _is_below(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return False
        pid = int(status.split("PPid:")[1].split()[0])
    return False


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_proc
def test_a_killed_ray_worker_costs_only_its_own_run(tmp_path: Path) -> None:
    same = ("--arms", "adam", "--seeds", "4", "--epochs", "800", "--workers", "2")
    driver = evaluate(tmp_path / "ray", "--engine", "ray", *same)
    records = tmp_path / "ray" / "wine" / "records"
    deadline = time.monotonic() + 120
    while not list(records.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    before = {path: path.stat().st_mtime_ns for path in records.glob("*.json")}
    victims = workers_of(driver.pid)
    assert before
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    ended(driver)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    ended(evaluate(tmp_path / "local", *same))
    assert stored(tmp_path / "ray") == stored(tmp_path / "local")


class DeadBoard:
    """As much of Ray as an engine uses, with a board whose machine has died."""

    class exceptions:  # noqa: N801
        RayError = RuntimeError

    def remote(self, **options: Any) -> Any:
        return lambda target: SimpleNamespace(
            remote=lambda *given: (
                SimpleNamespace(read=SimpleNamespace(remote=lambda: "board"))
                if isinstance(target, type)
                else given[2]
            )
        )

    def cluster_resources(self) -> dict[str, float]:
        return {}

    def wait(self, pending: list[Any], **options: Any) -> tuple[list[Any], list[Any]]:
        return pending[:1], pending[1:]

    def get(self, reference: Any) -> Any:
        if reference == "board":
            raise RuntimeError("The actor died.")
        return {"job": reference}


def test_the_loss_of_the_board_costs_no_run() -> None:
    saved: dict[Any, Any] = {}
    engine = RayEngine(DeadBoard())
    engine.run_all(["one", "other"], lambda job, report: {}, saved.__setitem__, lambda shares: None)
    assert saved == {"one": {"job": 0}, "other": {"job": 1}}
