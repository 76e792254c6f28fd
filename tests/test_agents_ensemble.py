"""Several agents as one policy: the mean of their actions, made again and gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from agents.config import TrainConfig
from agents.ensemble import MEMBERS, EnsembleConfig, ensemble
from agents.merging import merge
from lr_env.command_line import run_command
from lr_env.errors import InvalidArgumentError, OutputError, PolicyError
from lr_env.observation import FEATURES
from lr_env.policy import FrozenPolicy
from tests.test_agents_train import SHORT_PPO, SMALL, _quick_scores  # noqa: F401
from tests.toys import make_policy

ROWS = torch.linspace(-2.0, 2.0, 7 * len(FEATURES)).reshape(7, len(FEATURES))


def config(out: Path, **changes: object) -> EnsembleConfig:
    small = {**SMALL, "ppo": SHORT_PPO, "steps": 400, "out": out, "name": "both"}
    return EnsembleConfig(2, TrainConfig(**{**small, **changes}))


def test_a_merged_policy_acts_as_the_mean_of_its_members() -> None:
    members = [make_policy(seed=seed) for seed in (1, 2, 3)]
    merged = merge(members, {**members[0].card, "name": "three"})
    # Small observations, so that no member is at the edge of what it may do.
    actions = torch.stack([member.act(0.1 * ROWS) for member in members])
    assert actions.abs().max() < 1.0
    torch.testing.assert_close(merged.act(0.1 * ROWS), actions.mean(0))
    assert len(merged.weights()["1.weight"][0]) == 3 * 8


def test_a_merged_discrete_policy_prefers_what_its_members_prefer_on_average() -> None:
    one, other = (make_policy(seed=seed, discrete=True) for seed in (1, 2))
    merged = merge([one, other], one.card)
    outputs = [
        torch.tanh(ROWS @ own["0.weight"].T + own["0.bias"]) @ own["1.weight"].T + own["1.bias"]
        for own in (one.weights(), other.weights())
    ]
    wanted = torch.stack(outputs).mean(0).argmax(-1)
    assert torch.equal(merged.act(ROWS), torch.tensor([-1.0, -0.25, 0.0, 0.25, 1.0])[wanted])


def test_policies_of_other_kinds_are_not_merged() -> None:
    box, discrete = make_policy(), make_policy(discrete=True)
    with pytest.raises(PolicyError, match="by the same settings"):
        merge([box, discrete], box.card)


@pytest.mark.usefixtures("inline")
def test_an_ensemble_is_the_mean_of_runs_and_is_gone_on_with(tmp_path: Path) -> None:
    policy = ensemble(config(tmp_path / "whole"))
    (run,) = (tmp_path / "whole").iterdir()
    members = [FrozenPolicy.load(path) for path in sorted(run.glob(f"{MEMBERS}/*/*/policies/best"))]
    assert len(members) == 2
    assert not torch.equal(members[0].weights()["0.weight"], members[1].weights()["0.weight"])
    small = 0.05 * ROWS
    mean = torch.stack([member.act(small) for member in members]).mean(0)
    torch.testing.assert_close(policy.act(small), mean)
    own = [member.card["weights_sha256"] for member in members]
    assert [member["weights_sha256"] for member in policy.card["members"]] == own
    assert policy.card["name"] == "both"
    assert policy.card["held_out"]
    assert FrozenPolicy.load(run / "policies" / "best").weights_sha256 == policy.weights_sha256

    # Killed in the second member, it trains that one again, and the same comes of it.
    shutil.rmtree(run / "policies")
    shutil.rmtree(next((run / MEMBERS / "1").iterdir()))
    first = next((run / MEMBERS / "0").iterdir()) / "policies" / "final" / "card.json"
    before = first.stat().st_mtime_ns
    again = ensemble(config(tmp_path / "whole", resume="latest", steps=10))
    assert again.weights_sha256 == policy.weights_sha256
    assert first.stat().st_mtime_ns == before


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="members must be at least 1"):
        EnsembleConfig(0)
    with pytest.raises(InvalidArgumentError, match="no run"):
        ensemble(config(tmp_path, resume="latest"))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text('{"config": {}}')
    with pytest.raises(OutputError, match="begin a new run"):
        ensemble(config(tmp_path, resume="latest"))


def test_flags_are_those_of_a_single_run(tmp_path: Path) -> None:
    seen: list[EnsembleConfig] = []
    flags = ["--members", "4", "--seed", "7", "--steps", "90", "--out", str(tmp_path)]
    assert run_command(EnsembleConfig, seen.append, "ensemble", "-", flags) == 0
    (parsed,) = seen
    assert (parsed.members, parsed.train.seed, parsed.train.steps) == (4, 7, 90)
    assert parsed.train.out == tmp_path
