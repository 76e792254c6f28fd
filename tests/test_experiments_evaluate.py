"""The real command line: end to end, interrupted and resumed, and given bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ALL_COMPLETED
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.arms import parse_arms
from experiments.config import EvaluateConfig
from experiments.engines import Save, Work, guarded, local
from experiments.evaluate import evaluate
from experiments.recipes import run_recipe
from experiments.runs import RunSpec
from lr_env.command_line import run_command
from lr_env.errors import LrEnvError
from tests.toys import make_policy

ROOT = Path(__file__).parent.parent
TIMES = ("seconds", "samples_per_second", "controller_seconds")
PROG = "python -m experiments.evaluate"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policies") / "random"
    make_policy().save(folder)
    return folder


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """No report, which is seconds of pictures: other tests read it."""
    monkeypatch.setattr("experiments.evaluate.write_report", lambda *_: None)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    # A session of its own: the test interrupts it as a terminal would, all processes at once.
    # Jobs in the background of a script inherit an ignored SIGINT; this one must not.
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.evaluate", *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "COLUMNS": "80"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def stored(folder: Path) -> dict[str, dict[str, Any]]:
    return {p.name: json.loads(p.read_text())["record"] for p in folder.glob("*.json")}


def timeless(records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        name: {key: value for key, value in record.items() if key not in TIMES}
        for name, record in records.items()
    }


def test_interrupted_resumed_and_reproduced(
    tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Enough epochs that the last of six runs is still to come when the first is seen.
    config = EvaluateConfig(
        task="wine", seeds=3, arms=("adam,agent",), policy=str(policy), epochs=15,
        out=tmp_path / "first",
    )  # fmt: skip
    command = [
        "--task", "wine", "--seeds", "3", "--arms", "adam,agent", "--policy", policy,
        "--epochs", "15", "--workers", "1", "--out", config.out,
    ]  # fmt: skip
    folder = config.out / "wine"
    first = start(*command)
    deadline = time.monotonic() + 150
    while not list(folder.glob("records/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGINT)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 130, errors
    assert errors == (
        f"{PROG}: interrupted; finished runs are kept: the same command goes on with the others.\n"
    )
    finished = {p: p.stat().st_mtime_ns for p in folder.glob("records/*.json")}
    assert 0 < len(finished) < 6
    assert not (folder / "report.html").exists()

    second = start(*command)
    output, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert f"wine, scale quick: 6 runs, {len(finished)} of them done before." in output
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["arms"]["agent"]["runs"] == summary["seeds"] == 3
    assert {path.name for path in folder.iterdir()} == {
        "records", "run.json", "runs.csv", "summary.json", "report.md", "report.html", "curves.png",
        "differences.png", "reached.png", "rates-agent.png",
    }  # fmt: skip
    run = json.loads((folder / "run.json").read_text())
    assert run["command"].startswith(f"{PROG} --task wine --seeds 3 --arms adam,agent")
    assert {"revision", "versions", "config"} <= set(run)

    monkeypatch.setattr("experiments.grid.run_all", run_here)
    monkeypatch.setattr("experiments.evaluate.write_report", lambda *_: None)
    evaluate(replace(config, out=tmp_path / "second"))
    ours, theirs = (
        timeless(stored(tmp_path / out / "wine/records")) for out in ("first", "second")
    )
    assert len(ours) == 6
    assert ours == theirs


def mistake(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run_command(EvaluateConfig, evaluate, PROG, "nothing", arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{PROG}: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--task win", "did you mean 'wine'?"),
        ("--arms adam adamm", "did you mean 'adam'?"),
        ("--arms adam@zero", "what follows @"),
        ("--policy no-such-policy", "Unknown policy"),
        ("--seeds 2", "seeds must be at least 3, not 2: fewer give no interval"),
        ("--seeds 0", "seeds must be at least 3"),
        ("--arms adam adam-cosine:1001", "seeds must be at most 1000, not 1001"),
        ("--arms adam adam-layerwise", "leave arm adam-layerwise out"),
        ("--seeds three", "--seeds: no type matching"),
        ("--epochs -1", "epochs must be above zero"),
        ("--workers 0", "workers must be above zero"),
        ("--batch-size 1000 --arms adam", "larger than the training split"),
        ("--data /no/such --arms adam", "Task 'wine' takes no data: leave --data out"),
        ("--model bert --arms adam", "Task 'wine' takes no model: leave --model out"),
        ("--head-dropout 0.3 --arms adam", "leave --head-dropout out"),
        ("--scale huge", "--scale"),
        ("--recipe hf-warmup", "Recipe hf-warmup fine-tunes a text classifier, not wine"),
        ("--arms trainer", "belongs to recipe hf-warmup, not plan"),
        ("--arms agent@best", "no grid to be tuned on"),
        ("--task all --data /no/such", "--data names one task's data"),
        ("--engine spark", "--engine"),
        ("--task titanic --data /no/such", "/no/such"),
        ("--sedes 3", "--seeds"),
    ],
)
def test_bad_input_is_one_line(
    arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = [] if "--task" in arguments else ["--task", "wine"]
    line = mistake([*task, "--out", str(tmp_path / "out"), *arguments.split()], capsys)
    assert said in line
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    line = mistake(["--task", "wine", "--arms", "adam", "--out", str(tmp_path / "file")], capsys)
    assert "choose another folder" in line
    assert (tmp_path / "file").read_text() == "mine"


def test_a_broken_policy_is_refused_before_any_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_policy().save(tmp_path / "policy")
    weights = tmp_path / "policy" / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    out = ["--out", str(tmp_path / "out")]
    line = mistake(["--task", "wine", "--policy", str(tmp_path / "policy"), *out], capsys)
    assert "export or copy the policy again" in line
    assert not (tmp_path / "out").exists()


def test_a_policy_is_not_asked_for_without_an_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("experiments.grid.run_all", run_here)
    config = EvaluateConfig(
        task="wine", seeds=3, epochs=2, policy="no-such", arms=("adam",), out=tmp_path
    )
    assert evaluate(config)["wine"]["policy"] is None
    assert "no-such" not in capsys.readouterr().out


def run_here(specs: list[RunSpec], work: Work[RunSpec], save: Save[RunSpec], *rest: Any) -> None:
    for spec in specs:
        save(spec, guarded(work, spec))


@pytest.mark.usefixtures("unreported")
def test_only_damaged_records_run_again(
    tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def watched(specs: list[RunSpec], *rest: Any) -> None:
        ran.extend(f"{spec.arm.name}-{spec.seed}" for spec in specs)
        run_here(specs, *rest)

    monkeypatch.setattr("experiments.grid.run_all", watched)
    config = EvaluateConfig(
        task="wine", seeds=3, epochs=2, policy=str(policy), arms=("adam", "agent"), out=tmp_path
    )
    first = evaluate(config)
    assert len(ran) == 6
    (tmp_path / "wine/records/agent-seed1.json").write_text('{"fingerprint": ')
    ran.clear()
    second = evaluate(config)
    assert ran == ["agent-1"]
    assert second["wine"]["differences"] == first["wine"]["differences"]


@pytest.mark.usefixtures("unreported")
def test_a_failing_run_names_itself_and_harms_nothing(
    tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.grid.run_all", run_here)
    config = EvaluateConfig(
        task="wine", seeds=3, epochs=2, policy=str(policy), arms=("adam", "agent"), out=tmp_path
    )
    evaluate(config)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.suffix == ".json"}

    def fail(*arguments: Any) -> None:
        raise RuntimeError("out of\npaper")

    monkeypatch.setattr("experiments.training.build_optimizer", fail)
    with pytest.raises(LrEnvError) as caught:
        evaluate(replace(config, seeds=4))
    message = str(caught.value)
    assert message.startswith("Arm adam with seed 3 failed (RuntimeError: out of paper, at ")
    assert "\n" not in message
    kept = {path: data for path, data in before.items() if path.name != "run.json"}
    assert {path: path.read_bytes() for path in kept} == kept


def test_finished_runs_are_saved_before_a_failure_is_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All end before the first is looked at, and they come in no particular order.
    monkeypatch.setattr(local, "FIRST_COMPLETED", ALL_COMPLETED)
    monkeypatch.setattr(local, "LOOK_EVERY", None)
    adam = parse_arms("adam")[0]
    bad, *good = (
        RunSpec(task=task, task_arguments={}, seed=0, arm=adam, policy=None, epochs=1, batch_size=8)
        for task in ("no-such-task", "wine", "wine", "wine", "wine", "wine")
    )
    saved: list[RunSpec] = []
    with pytest.raises(LrEnvError, match="Unknown task 'no-such-task'"):
        local.LocalEngine(1).run_all(
            [bad, *good], run_recipe, lambda spec, _: saved.append(spec), print
        )
    assert saved == good


class Deadly:
    """Ends the process that it is handed to."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


def test_a_worker_that_dies_is_one_sentence() -> None:
    deadly: Any = Deadly()
    with pytest.raises(LrEnvError, match=r"A worker process died .* fewer --workers"):
        local.LocalEngine(1).run_all([deadly], run_recipe, lambda spec, _: None, print)
