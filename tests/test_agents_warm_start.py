"""The warm start: an actor fitted to branches, which a run's folder keeps."""

from pathlib import Path

import pytest
import torch
from gymnasium import spaces
from rich.console import Console
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.actor_fit import fit_actor, interpolated
from agents.branches import ACTIONS, Branches
from agents.config import TrainConfig
from agents.curriculum import plan_stacks
from agents.run_folder import RunFolder
from agents.warm_start import _gather, _read, _write
from agents.workers import Workers
from lr_env.errors import LrEnvError
from lr_env.observation import FEATURES

# Of what is off by default (`--branches`), and half a minute.
pytestmark = pytest.mark.slow


def _actor() -> ActorCriticPolicy:
    torch.manual_seed(0)
    box = spaces.Box(-5, 5, (len(FEATURES),))
    return ActorCriticPolicy(box, spaces.Box(-1, 1, (1,)), lambda _: 1e-3, net_arch=[16])


def _world(count: int, layers: int) -> Branches:
    """Instances whose first feature says whether the second-highest or the lowest is best."""
    observation = torch.randn(
        count, layers, len(FEATURES), generator=torch.Generator().manual_seed(1)
    )
    observation[:, :, 0] = observation[:, :1, 0].sign()
    best = torch.where(observation[:, 0, 0] > 0, 0.1, -0.25).unsqueeze(1)
    return Branches(observation, -10.0 * (torch.tensor(ACTIONS) - best) ** 2)


def _mean_actions(policy: ActorCriticPolicy, branches: Branches) -> torch.Tensor:
    actions = policy.action_net(policy.mlp_extractor.policy_net(branches.observation))
    return actions.squeeze(-1).mean(1).detach()


def test_the_actor_learns_which_action_is_best() -> None:
    policy = _actor()
    # Networks of different depths in one fit.
    branches = [_world(400, 2), _world(300, 5)]
    course = fit_actor(policy, branches, torch.ones(len(FEATURES)), seed=0)
    assert course[-1] > max(course[0], 0.1)
    for own in branches:
        actions = _mean_actions(policy, own)
        first = own.observation[:, 0, 0] > 0
        assert float(actions[first].mean()) == pytest.approx(0.1, abs=0.05)
        assert float(actions[~first].mean()) < -0.15


def test_what_the_agent_does_not_see_the_fit_does_not_either() -> None:
    policy = _actor()
    seen = torch.ones(len(FEATURES))
    seen[0] = 0.0
    branches = _world(400, 2)
    before = policy.mlp_extractor.policy_net[0].weight[:, 0].clone()
    fit_actor(policy, [branches], seen, seed=0)
    shrunk = policy.mlp_extractor.policy_net[0].weight[:, 0].detach()
    # Weight decay alone moves it.
    assert (shrunk.abs() <= before.abs()).all()


def test_gains_between_two_actions_are_interpolated() -> None:
    gain = torch.tensor([[0.0, 1.0, 0.0, 3.0, 5.0]]).repeat(4, 1)
    action = torch.tensor([-0.1, 0.05, 0.175, 0.9])
    assert interpolated(gain, action).tolist() == pytest.approx([1.0, 1.5, 4.0, 5.0])


def test_branches_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "00000.safetensors"
    branches = [_world(3, 2), _world(2, 4)]
    _write(path, branches)
    for own, kept in zip(branches, _read(path), strict=True):
        assert torch.equal(own.observation, kept.observation)
        assert torch.equal(own.outcome, kept.outcome)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(LrEnvError, match="remove it, and resume"):
        _read(path)


@pytest.mark.usefixtures("inline")
def test_what_is_grown_is_not_grown_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(
        stacks=1, slots=8, branches=3, branch_instances=2, workers=1, fine_tuning=False
    )
    plans = plan_stacks(config)
    workers = Workers(plans, 1)
    folder = RunFolder(tmp_path)
    whole = _gather(config, workers, folder, Console(quiet=True))
    assert len(whole) == 3
    (folder.branches / "00002.safetensors").unlink()
    asked = []
    grow = workers.grow
    monkeypatch.setattr(workers, "grow", lambda plans: asked.append(len(plans)) or grow(plans))
    again = _gather(config, workers, folder, Console(quiet=True))
    assert asked == [1]
    assert all(torch.equal(a.outcome, b.outcome) for a, b in zip(whole, again, strict=True))
    workers.close()
