"""The Makefile: every target is listed, hands its arguments on untouched, and runs its command."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TARGETS = (
    "setup", "train-agent", "eval", "meta-test", "test", "test-slow", "lint", "format", "type",
    "check", "bench", "lock", "clean", "help",
)  # fmt: skip

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that is set up, whose Python writes down how it was called."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").write_text(
        '#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done >>called\n'
        'printf "\\n" >>called\ncase "$*" in *--version) exit 0;; esac\n'
        'exit "$(cat status 2>/dev/null || echo 0)"\n'
    )
    (binaries / "python").chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def calls(folder: Path) -> list[list[str]]:
    lines = (folder / "called").read_text().split("\0\n")
    return [line.split("\0") for line in lines if line]


def test_help_is_the_default_and_lists_every_target_with_one_line() -> None:
    listed = make(ROOT, "help").stdout
    assert make(ROOT).stdout == listed
    rows = dict(re.findall(r"^  ([a-z-]+) +(\S.*)$", listed, re.MULTILINE))
    assert sorted(rows) == sorted(TARGETS)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert sorted(phony.group(1).split()) == sorted(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_planned(target: str, checkout: Path) -> None:
    done = make(checkout, "-n", target)
    assert done.returncode == 0, done.stderr
    assert not (checkout / "called").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train-agent"], ["-m", "agents.train"]),
        (
            ["train-agent", "ALGO=dqn", "STEPS=500", "MINUTES=0.5", "SEED=7", "OUT=runs/x",
             "PRESET=plan"],
            ["-m", "agents.train", "--algo", "dqn", "--steps", "500", "--minutes", "0.5",
             "--seed", "7", "--out", "runs/x", "--preset", "plan"],
        ),
        (["train-agent", "RESUME=runs/a b"], ["-m", "agents.train", "--resume", "runs/a b"]),
        (["eval"], ["-m", "experiments.evaluate"]),
        (
            ["eval", "TASK=titanic", "SEEDS=10", "POLICY=ppo-v1", "ARMS=adam,agent"],
            ["-m", "experiments.evaluate", "--task", "titanic", "--seeds", "10",
             "--policy", "ppo-v1", "--arms", "adam,agent"],
        ),
        (["meta-test"], ["-m", "experiments.meta_test"]),
        (
            ["meta-test", "POLICY=ppo-v1 runs/a", "ENTRIES=scenes,topics", "ARMS=agent",
             "SEEDS=5", "FIRST_SEED=16", "OUT=runs/b", "ENGINE=ray"],
            ["-m", "experiments.meta_test", "--policy", "ppo-v1 runs/a",
             "--entries", "scenes,topics", "--arms", "agent", "--seeds", "5",
             "--first-seed", "16", "--out", "runs/b", "--engine", "ray"],
        ),
        (
            ["eval", "TASK=imdb", "SCALE=paper", "MODEL=/some/where else", "STEM=cifar",
             "HEAD_DROPOUT=0.3", "RECIPE=hf-warmup", "ENGINE=ray"],
            ["-m", "experiments.evaluate", "--task", "imdb", "--scale", "paper",
             "--model", "/some/where else", "--stem", "cifar", "--head-dropout", "0.3",
             "--recipe", "hf-warmup", "--engine", "ray"],
        ),
        (["test"], ["-m", "pytest", "-n", "auto", "--dist", "worksteal"]),
        (["test-slow"], ["-m", "pytest", "-m", "slow"]),
        (["type"], ["-m", "mypy"]),
        (["bench"], ["-m", "experiments.benchmarks"]),
    ],
)  # fmt: skip
def test_targets_run_their_command(
    arguments: list[str], expected: list[str], checkout: Path
) -> None:
    done = make(checkout, *arguments)
    assert done.returncode == 0, done.stderr
    assert calls(checkout) == [expected]


@pytest.mark.parametrize(
    "value",
    ["a b", "it's", 'say "x"', "$(shell touch owned)", "`touch owned`", "$HOME", "a;touch owned",
     "$$(touch owned)", "--help", "a\nb", "*", "\\"],
)  # fmt: skip
def test_what_the_user_writes_is_never_parsed(value: str, checkout: Path) -> None:
    done = make(checkout, "eval", f"TASK={value}")
    assert done.returncode == 0, done.stderr
    assert calls(checkout) == [["-m", "experiments.evaluate", "--task", value]]
    assert not (checkout / "owned").exists()


def test_a_failing_command_fails_the_target(checkout: Path) -> None:
    (checkout / "status").write_text("3")
    assert make(checkout, "eval").returncode == 2
    assert make(checkout, "check").returncode == 2


def test_check_formats_before_it_checks(checkout: Path) -> None:
    make(checkout, "-j4", "check")
    modules = [" ".join(call[1:3]) for call in calls(checkout)]
    assert modules == [
        "ruff check",
        "ruff format",
        "ruff check",
        "ruff format",
        "mypy",
        "pytest -n",
    ]


def test_setup_is_skipped_when_up_to_date_and_redone_when_requirements_change(
    checkout: Path,
) -> None:
    make(checkout, "setup")
    assert not (checkout / "called").exists()
    stamp = checkout / ".venv" / ".installed"
    os.utime(stamp, (1, 1))
    make(checkout, "setup")
    assert calls(checkout)[-1][:3] == ["-m", "pip", "install"]
    assert stamp.stat().st_mtime > 1


def test_a_failed_install_leaves_no_stamp(checkout: Path) -> None:
    os.utime(checkout / ".venv" / ".installed", (1, 1))
    (checkout / "status").write_text("1")
    done = make(checkout, "test")
    assert done.returncode == 2
    assert not (checkout / ".venv" / ".installed").exists()
    assert not any("pytest" in call for call in calls(checkout))


def test_an_unusable_python_is_one_clear_line(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for python in (str(old), "no-such-python"):
        done = make(tmp_path, "test", f"PYTHON={python}")
        assert done.returncode == 2
        assert "lr-env needs Python 3.11 or newer" in done.stderr
        assert not (tmp_path / ".venv").exists()


def test_clean_keeps_the_environment_and_the_runs(checkout: Path) -> None:
    for kept in ("runs/x", "lr_env"):
        (checkout / kept).mkdir(parents=True)
    for gone in ("build", "dist", "lr_env.egg-info", ".mypy_cache", "lr_env/__pycache__"):
        (checkout / gone).mkdir()
    assert make(checkout, "clean").returncode == 0
    left = {path.relative_to(checkout).as_posix() for path in checkout.rglob("*") if path.is_dir()}
    assert left == {".venv", ".venv/bin", "runs", "runs/x", "lr_env"}


def test_the_script_of_continuous_integration_runs_tests_then_style_and_types() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line.startswith("make")]
    assert commands == ["make test", "make lint type"]
