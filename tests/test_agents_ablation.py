"""The ablation: variants of one meta-training on equal trainings, resumable."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import ablation
from agents.ablation import NEVER, AblationConfig, ablate, score_suites
from agents.ablation_scores import NOTHING, read_scores
from agents.ablation_table import difference, table
from agents.config import TrainConfig
from agents.curriculum import exported_envelope
from agents.variants import DECLARED, REFERENCE, VARIANTS, same_trainings
from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.files import write_json
from lr_env.observation import FEATURES
from lr_env.policy import FrozenPolicy, make_card
from lr_env.scoring import Entry
from lr_env.stack import StackSettings
from tests.toys import ToyTask

NOISE = torch.linspace(-1.0, 1.0, 20, dtype=torch.float64)


def _policy(config: TrainConfig, bias: float) -> FrozenPolicy:
    card = make_card(
        name="toy", action_space="box", activation="tanh", envelope=exported_envelope(config)
    )
    weights = {"0.weight": torch.zeros(1, len(FEATURES)), "0.bias": torch.tensor([bias])}
    return FrozenPolicy(weights, card)


class Runs:
    """In the place of meta-training and scoring: what was asked for, and made-up results."""

    def __init__(self) -> None:
        self.begun: list[TrainConfig] = []
        self.scored: list[tuple[str, bool]] = []
        self.revision = "a"

    def train(self, config: TrainConfig, report: bool) -> None:
        assert not report
        self.begun.append(config)
        run = config.out / "run"
        own = {"config": config.to_dict(), "revision": self.revision}
        write_json(run / "run.json", own)
        _policy(config, 0.1 if config.reward == "progress" else -0.1).save(run / "policies/final")

    def score(self, policy: FrozenPolicy, kind: str, workers: int) -> list[torch.Tensor]:
        self.scored.append((kind, policy.envelope.shared))
        bias = float(policy.weights()["0.bias"]) if kind == "policy" else 0.0
        return [NOISE + bias + 0.5 * policy.envelope.shared] * 3


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    own = Runs()
    monkeypatch.setattr("agents.train.train", own.train)
    monkeypatch.setattr(ablation, "score_suites", own.score)
    monkeypatch.setattr(ablation, "code_revision", lambda: own.revision)
    return own


def _config(out: Path, *variants: str, **changes: Any) -> AblationConfig:
    return AblationConfig(variants, **{"seeds": (42, 43), "steps": 300, "out": out, **changes})


def test_every_variant_is_a_config_that_differs_from_the_reference() -> None:
    assert VARIANTS[REFERENCE] == {}
    reference = TrainConfig().to_dict()
    for name, changes in VARIANTS.items():
        assert (TrainConfig(**changes).to_dict() != reference) == (name != REFERENCE)


def test_differences_are_paired_and_zero_actions_have_a_row(tmp_path: Path, runs: Runs) -> None:
    written = ablate(_config(tmp_path, "potential-based reward"))
    # Two meta-trainings make no interval: each has its difference in parentheses.
    assert f"| {REFERENCE} | 42, 43 | 0.600 |  | 0.600 |  | 0.600 |  |" in written
    assert f"| {NOTHING} | 42, 43 | 0.500 | -0.100 (-0.100, -0.100) |" in written
    assert "| potential-based reward | 42, 43 | 0.400 | -0.200 (-0.200, -0.200) |" in written
    assert "revision a." in written
    assert (tmp_path / "ablation.md").read_text() == written
    assert table(read_scores(tmp_path / "scores"), ["a"]) == written
    assert len(runs.begun) == 4
    # What counts is the last policy of each: none is scored on the way.
    assert all(config.score_every == NEVER for config in runs.begun)


def test_finished_runs_and_scores_are_kept(tmp_path: Path, runs: Runs) -> None:
    config = _config(tmp_path / "there", "potential-based reward")
    written = ablate(config)
    begun, scored = len(runs.begun), len(runs.scored)
    assert ablate(config) == written
    # A folder may be moved, and runs may go on in more or fewer processes.
    (tmp_path / "there").rename(tmp_path / "here")
    moved = _config(tmp_path / "here", "potential-based reward", workers=1)
    assert ablate(moved) == written
    assert (len(runs.begun), len(runs.scored)) == (begun, scored)
    with pytest.raises(InvalidArgumentError, match="other settings"):
        ablate(_config(tmp_path / "here", "potential-based reward", steps=400))


def test_the_table_is_there_before_the_last_variant(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(config: TrainConfig, report: bool) -> None:
        raise KeyboardInterrupt

    ablate(_config(tmp_path, seeds=(42,)))
    monkeypatch.setattr("agents.train.train", stop)
    with pytest.raises(KeyboardInterrupt):
        ablate(_config(tmp_path, "potential-based reward", seeds=(42,)))
    assert REFERENCE in (tmp_path / "ablation.md").read_text()


def test_what_differs_in_the_export_alone_is_not_trained_again(tmp_path: Path, runs: Runs) -> None:
    assert same_trainings(VARIANTS[DECLARED])
    written = ablate(_config(tmp_path, DECLARED))
    assert len(runs.begun) == 2
    assert f"| {DECLARED} | 42, 43 | 0.100 | -0.500 (-0.500, -0.500) |" in written


def test_runs_of_other_code_are_named(
    tmp_path: Path, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    ablate(_config(tmp_path, seeds=(42,)))
    runs.revision = "b"
    assert "revision a, b." in ablate(_config(tmp_path))
    assert "not of today's" in " ".join(capsys.readouterr().out.split())


def test_runs_of_another_version_are_refused(tmp_path: Path, runs: Runs) -> None:
    ablate(_config(tmp_path, seeds=(42,)))
    (record,) = tmp_path.glob("reference-42/*/run.json")
    kept = json.loads(record.read_text())
    # As a version wrote it that did not know of sharing, which is not what is the default now.
    del kept["config"]["shared_action"]
    write_json(record, kept)
    with pytest.raises(Exception, match="of another version; begin a new run"):
        ablate(_config(tmp_path, seeds=(42,)))


@pytest.mark.usefixtures("inline")
def test_scores_of_a_policy_on_every_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = StackSettings(base_lr=(1e-4, 1e-2), total_steps=20)
    entries = [Entry(name, ToyTask, settings, 2) for name in ("one", "two")]
    monkeypatch.setattr(ablation, "held_out_suite", lambda lanes: entries)
    monkeypatch.setattr(ablation, "part_a", lambda shown=False: entries[: 2 if shown else 1])
    policy = _policy(TrainConfig(), 0.5)
    own = score_suites(policy, "policy", 1)
    assert [len(potentials) for potentials in own] == [2, 4, 4]
    assert not torch.equal(own[0], score_suites(policy, "start", 1)[0])


def test_intervals_are_over_meta_trainings() -> None:
    trainings = torch.linspace(-1.0, 1.0, 20)
    gaps = torch.stack([trainings + own for own in (0.1, 0.2, 0.3)])
    # t quantile 4.303, deviation 0.1, three seeds: what trainings differ by does not enter.
    assert difference(gaps) == "+0.200 [-0.048, +0.448]"
    assert difference(gaps[:2]) == "+0.150 (+0.100, +0.200)"
    assert difference(gaps[:1]) == "+0.100"


def test_a_variant_that_there_is_not() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'residual actions'"):
        AblationConfig(("residual action",))
