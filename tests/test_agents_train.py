"""Meta-training, small: reproducible, resumable after being killed, exported with parity."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from stable_baselines3 import PPO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents import curriculum, held_out, monitor
from agents.config import DQNConfig, PPOConfig, TrainConfig
from agents.features import seen_features
from agents.train import main, train
from lr_env.errors import InvalidArgumentError, LrEnvError
from lr_env.observation import FEATURES
from lr_env.policy import FrozenPolicy
from lr_env.randomness import torch_generator
from lr_env.scoring import Entry
from lr_env.stack import StackSettings
from tests.toys import ToyTask

ROOT = Path(__file__).parent.parent
SMALL = {"twins": 2, "stacks": 2, "slots": 12, "workers": 1, "score_every": 100, "hidden": (8, 8)}
LONG, BREAK = 1000, 600
"""Slot decisions of a run, and of one that is broken off."""
SHORT_PPO = PPOConfig(n_steps=8, minibatches=2, n_epochs=2)
SHORT_DQN = DQNConfig(buffer_size=2000, batch_size=32, gradient_steps=2)


def _config(out: Path, algo: str = "ppo", **changes: object) -> TrainConfig:
    return TrainConfig(
        **{**SMALL, "ppo": SHORT_PPO, "dqn": SHORT_DQN, "algo": algo, "out": out, **changes}
    )


def _only_run(out: Path) -> Path:
    (run,) = out.iterdir()
    return run


def _weights(run: Path, which: str = "final") -> dict[str, torch.Tensor]:
    return FrozenPolicy.load(run / "policies" / which).weights()


def _state(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoint.pt", weights_only=True)


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture(autouse=True)
def _quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score on one small entry, and train so shortly that rollouts see the end of it."""
    monkeypatch.setattr(curriculum, "DECISIONS", (3, 6))
    settings = StackSettings(base_lr=(1e-4, 1e-2), total_steps=20)
    entry = Entry("toy", ToyTask, settings, 2)
    monkeypatch.setattr(held_out, "held_out_suite", lambda lanes=2: [entry])
    monkeypatch.setattr(held_out, "part_a", lambda shown=False: [entry])
    monkeypatch.setattr(monitor, "rate_trajectories", lambda policy: Figure())


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
def test_an_agent_that_is_held_to_doing_nothing_does_less(tmp_path: Path) -> None:
    rows = 4.0 * torch.rand(64, len(FEATURES), generator=torch_generator(0, "rows")) - 2.0

    def actions(prior: float) -> float:
        own = PPOConfig(8, minibatches=2, n_epochs=10, prior_coef=prior, plateau_step=0.0)
        config = _config(tmp_path / str(prior), steps=1000, ppo=own, learning_rate=3e-3)
        train(config, report=False)
        # The last, and not the one that was picked by its score, which may have learned less.
        last = FrozenPolicy.load(_only_run(config.out) / "policies" / "final")
        return float(last.act(rows).square().mean().sqrt())

    free, held, bound = (actions(prior) for prior in (0.0, 1.0, 10.0))
    assert bound < 0.5 * held < 0.35 * free


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
@pytest.mark.usefixtures("inline")
def test_a_run_in_two_parts_is_the_run_in_one(algo: str, tmp_path: Path) -> None:
    policy = train(_config(tmp_path / "whole", algo, steps=LONG))
    train(_config(tmp_path / "parts", algo, steps=BREAK, checkpoint_seconds=0.0), report=False)
    parts = _only_run(tmp_path / "parts")
    before = _weights(parts)
    assert _state(parts)["counters"]["num_timesteps"] > 0
    train(_config(tmp_path / "parts", algo, steps=LONG, resume=str(parts)), report=False)
    whole = _only_run(tmp_path / "whole")
    assert _equal(_weights(parts), _weights(whole))
    assert not _equal(before, _weights(whole))
    assert policy.card["action_space"] == ("box" if algo == "ppo" else "discrete")
    assert set(policy.card["held_out"]) >= {"policy", "rivals", "over"}
    assert policy.card["config"]["algo"] == algo
    # Whoever goes on with it again goes on to the budget that it has now.
    assert json.loads((parts / "run.json").read_text())["config"]["steps"] == LONG
    record = json.loads((whole / "run.json").read_text())
    assert record["config"]["seed"] == 42
    assert record["versions"]["torch"] in torch.__version__
    assert [stack["name"] for stack in record["stacks"]] == [
        t["name"] for t in policy.card["tasks"]
    ]
    assert list((whole / "logs").glob("progress*.csv"))


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
@pytest.mark.usefixtures("inline")
def test_a_run_can_be_watched(algo: str, tmp_path: Path) -> None:
    """Scores where they were taken, the last one too; actions as histograms, rates as pictures."""
    train(_config(tmp_path, algo, steps=600, score_every=1))
    run = _only_run(tmp_path)
    watched = EventAccumulator(str(run / "logs"), size_guidance={"scalars": 0, "images": 0})
    watched.Reload()
    scores = watched.Scalars("held_out/potential")
    assert scores[0].step == 0
    assert len(scores) >= 3
    best = FrozenPolicy.load(run / "policies" / "best").card
    learned = [score.value for score in scores if score.step > 0]
    assert max(learned) == pytest.approx(best["picking_score"])
    final = FrozenPolicy.load(run / "policies" / "final").card
    assert scores[-1].step == final["trained"]["slot_decisions"] >= 600
    assert watched.Images("held_out/learning_rates")
    assert watched.Histograms("agent/actions")


@pytest.mark.usefixtures("inline")
def test_a_short_run_exports_what_it_learned(tmp_path: Path) -> None:
    """DQN's weights are averaged after so many decisions, and this run has fewer."""
    config = _config(tmp_path, "dqn", steps=400, ppo=PPOConfig(n_steps=100), averaging=0.0)
    last: list[dict[str, torch.Tensor]] = []

    class Keeping(monitor.Monitor):
        def stop(self) -> None:
            super().stop()
            last.append({name: own.clone() for name, own in self.model.policy.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.train.Monitor", Keeping)
        train(config)
    exported = _weights(_only_run(tmp_path))
    seen = seen_features(config.features_off)
    assert torch.equal(exported["0.weight"], last[0]["q_net.q_net.0.weight"] * seen)


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
def test_a_warm_start_comes_first_and_only_once(tmp_path: Path) -> None:
    grown = {"branches": 1, "branch_instances": 1, "fine_tuning": False, "hidden": (8, 8)}
    train(_config(tmp_path / "whole", steps=LONG, **grown), report=False)
    train(_config(tmp_path / "parts", steps=BREAK, checkpoint_seconds=0.0, **grown), report=False)
    parts = _only_run(tmp_path / "parts")
    (kept,) = (parts / "branches").iterdir()
    kept.unlink()
    train(_config(tmp_path / "parts", steps=LONG, resume=str(parts)), report=False)
    # The checkpoint has the actor, and what it is held to: nothing is grown a second time.
    assert not list((parts / "branches").iterdir())
    assert _equal(_weights(parts), _weights(_only_run(tmp_path / "whole")))


def test_the_number_of_workers_changes_nothing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    train(_config(tmp_path / "2", steps=BREAK, workers=2), report=False)
    request.getfixturevalue("inline")
    train(_config(tmp_path / "1", steps=BREAK, workers=1), report=False)
    one, two = (_weights(_only_run(tmp_path / str(workers))) for workers in (1, 2))
    assert _equal(one, two)


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
def test_noise_that_outlasts_a_decision_outlasts_a_break(tmp_path: Path) -> None:
    """Where no stack gives way to another, the last noise is part of the state."""
    once = {"renew_every": 0}
    train(_config(tmp_path / "whole", steps=LONG, **once), report=False)
    train(_config(tmp_path / "parts", steps=BREAK, checkpoint_seconds=0.0, **once), report=False)
    parts = _only_run(tmp_path / "parts")
    assert len(_state(parts)["algorithm"]["last_noise"])
    train(_config(tmp_path / "parts", steps=LONG, resume=str(parts)), report=False)
    assert _equal(_weights(parts), _weights(_only_run(tmp_path / "whole")))


def _kill_at(command: list[str], folder: Path, pattern: str, after: float = 0.0) -> None:
    """Run `command`, and kill it so many seconds after there is such a file in `folder`."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while not list(folder.glob(pattern)):
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(after)
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_kill_nine_loses_nothing_but_time(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "agents.train", "--stacks", "2", "--slots", "12", "--steps", "3000",
        "--branches", "2", "--branch-instances", "2",
        "--ppo.n-steps", "20", "--score-every", "100", "--checkpoint-seconds", "0",
        "--workers", "1", "--out",
    ]  # fmt: skip
    # No longer than to the last policy: what follows are scores and a report, minutes on one core.
    _kill_at([*command, str(tmp_path / "whole")], tmp_path / "whole", "*/policies/final")
    _kill_at([*command, str(tmp_path / "killed")], tmp_path / "killed", "*/checkpoint.pt", 2.0)
    run = _only_run(tmp_path / "killed")
    assert not (run / "policies" / "final").exists()
    resumed = [sys.executable, "-m", "agents.train", "--resume", str(run)]
    _kill_at(resumed, run, "policies/final")
    assert _equal(_weights(run), _weights(_only_run(tmp_path / "whole")))


@pytest.mark.usefixtures("inline")
def test_a_broken_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    train(_config(tmp_path, steps=20))
    run = _only_run(tmp_path)
    (run / "checkpoint.pt").write_bytes(b"cut off")
    with pytest.raises(LrEnvError, match="begin a new run"):
        train(_config(tmp_path, resume=str(run)))


@pytest.mark.usefixtures("inline")
def test_a_run_goes_on_with_its_own_settings_alone(tmp_path: Path) -> None:
    train(_config(tmp_path, steps=20))
    run = str(_only_run(tmp_path))
    with pytest.raises(InvalidArgumentError, match="begun with another gamma, hidden"):
        train(TrainConfig(out=tmp_path, resume=run, gamma=0.5, hidden=(8,)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--algo", "pqo"], "did you mean 'ppo'"),
        (["--preset", "plann"], "did you mean 'plan'"),
        (["--stepz", "3"], "did you mean --steps"),
        (["--steps", "0"], "steps must be above zero"),
        (["--resume", "nowhere"], "not the folder of a run"),
        (["--out", "/proc/nowhere"], "/proc/nowhere"),
        (["--gamma", "1.5"], "gamma must be in (0, 1]"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "argv", ["agents.train", "--out", str(tmp_path), *arguments])
    assert main() == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("inline")
def test_what_the_algorithm_refuses_is_no_run_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise InvalidArgumentError("No.")

    monkeypatch.setattr("agents.train.build_algorithm", refuse)
    with pytest.raises(InvalidArgumentError, match=r"No\."):
        train(_config(tmp_path))
    with pytest.raises(InvalidArgumentError, match="no run under"):
        train(_config(tmp_path, resume="latest"))


@pytest.mark.usefixtures("inline")
def test_the_record_is_there_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(self: PPO, *_: Any, **__: Any) -> None:
        assert (_only_run(tmp_path) / "run.json").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(PPO, "learn", learn)
    with pytest.raises(KeyboardInterrupt):
        train(_config(tmp_path))


@pytest.mark.usefixtures("inline")
def test_going_on_with_a_finished_run_keeps_a_better_last_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([1.0, 2.0, 1.5, 1.5, 1.5, 1.5])
    monkeypatch.setattr(held_out.HeldOut, "mean", lambda self, policy: next(scores))
    train(_config(tmp_path, steps=200, checkpoint_seconds=0.0), report=False)
    run = _only_run(tmp_path)
    last = _weights(run, "best")
    assert _equal(last, _weights(run, "final"))
    train(_config(tmp_path, steps=400, resume=str(run)), report=False)
    assert _equal(last, _weights(run, "best"))


@pytest.mark.usefixtures("inline")
def test_a_run_that_learned_nothing_of_use_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = iter([1.0, 0.5])
    monkeypatch.setattr(held_out.HeldOut, "mean", lambda self, policy: next(scores))
    policy = train(_config(tmp_path, steps=200), report=False)
    assert policy.card["trained"]["slot_decisions"] >= 200
    assert policy.card["picking_score"] == 0.5
    said = " ".join(capsys.readouterr().out.split())
    assert "nothing that was learned scored above the untrained policy (1.000)." in said
