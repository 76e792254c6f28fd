"""Meta-training, small: reproducible, resumable after being killed, exported with parity."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from agents.config import DQNConfig, PPOConfig, TrainConfig
from agents.train import main, train
from lr_env.errors import LrEnvError
from lr_env.policy import FrozenPolicy

ROOT = Path(__file__).parent.parent
SMALL = {"stacks": 2, "lanes": 2, "workers": 1, "score_every": 100, "hidden": (8, 8)}
PPO = PPOConfig(n_steps=4, minibatches=2, n_epochs=2)
DQN = DQNConfig(buffer_size=2000, batch_size=32, gradient_steps=2)


def _config(out: Path, algo: str = "ppo", **changes: object) -> TrainConfig:
    return TrainConfig(**{**SMALL, "ppo": PPO, "dqn": DQN, "algo": algo, "out": out, **changes})


def _only_run(out: Path) -> Path:
    (run,) = out.iterdir()
    return run


def _weights(run: Path, which: str = "final") -> dict[str, torch.Tensor]:
    return FrozenPolicy.load(run / "policies" / which).weights()


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_seed_reproduces_the_policy_and_the_card_says_what_it_is(
    algo: str, tmp_path: Path
) -> None:
    policies = [train(_config(tmp_path / name, algo, steps=200)) for name in ("a", "b")]
    runs = [_only_run(tmp_path / name) for name in ("a", "b")]
    assert _equal(_weights(runs[0]), _weights(runs[1]))
    card = policies[0].card
    assert card["action_space"] == ("box" if algo == "ppo" else "discrete")
    assert set(card["held_out"]) >= {"policy", "identity", "random", "over_identity"}
    assert card["config"]["algo"] == algo
    record = json.loads((runs[0] / "run.json").read_text())
    assert record["config"]["seed"] == 42
    assert record["versions"]["torch"] == torch.__version__.split("+")[0] or record["versions"]
    assert list((runs[0] / "logs").glob("progress*.csv"))
    assert list((runs[0] / "logs").glob("events*"))


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_an_interrupted_run_resumed_equals_the_uninterrupted(algo: str, tmp_path: Path) -> None:
    whole = _config(tmp_path / "whole", algo, steps=400)
    train(whole)
    train(_config(tmp_path / "parts", algo, steps=200, checkpoint_seconds=0.0))
    run = _only_run(tmp_path / "parts")
    train(_config(tmp_path / "parts", algo, steps=400, resume=str(run)))
    assert _equal(_weights(run), _weights(_only_run(tmp_path / "whole")))


@pytest.mark.slow
def test_kill_nine_loses_nothing_but_time(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "agents.train", "--stacks", "2", "--lanes", "2", "--steps", "3000",
        "--ppo.n-steps", "4", "--checkpoint-seconds", "0", "--workers", "1", "--out",
    ]  # fmt: skip
    subprocess.run([*command, str(tmp_path / "whole")], cwd=ROOT, check=True, capture_output=True)
    process = subprocess.Popen(
        [*command, str(tmp_path / "killed")], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    while not list((tmp_path / "killed").glob("*/checkpoint.pt")):
        time.sleep(0.1)
    time.sleep(2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run = _only_run(tmp_path / "killed")
    resumed = [sys.executable, "-m", "agents.train", "--resume", str(run)]
    subprocess.run(resumed, cwd=ROOT, check=True, capture_output=True)
    assert _equal(_weights(run), _weights(_only_run(tmp_path / "whole")))


def test_a_broken_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    train(_config(tmp_path, steps=20))
    run = _only_run(tmp_path)
    (run / "checkpoint.pt").write_bytes(b"cut off")
    with pytest.raises(LrEnvError, match="begin a new run"):
        train(_config(tmp_path, resume=str(run)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--algo", "pqo"], "did you mean 'ppo'"),
        (["--stepz", "3"], "did you mean --steps"),
        (["--steps", "0"], "steps must be above zero"),
        (["--resume", "nowhere"], "not the folder of a run"),
        (["--out", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["agents.train", *arguments])
    assert main() == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
