"""The warm start: a rule fitted to branches, which a run's folder keeps, and the actor with it."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from agents.actor_fit import DEPTH, MOST_OCTAVES, NEWTON_STEP, Rule, carry, check_room, fit_rule
from agents.algorithms import build_algorithm
from agents.branches import MOMENTS, Branches
from agents.config import TrainConfig
from agents.curriculum import LEAK, plan_stacks
from agents.exploration import SharedNoisePolicy
from agents.features import seen_features
from agents.run_folder import RunFolder
from agents.slots import SlotVecEnv
from agents.warm_start import _gather, _read, _write, warm_start
from agents.workers import Workers
from lr_env.errors import InvalidArgumentError, LrEnvError
from lr_env.observation import FEATURES

EVERYTHING = torch.ones(len(FEATURES))
VALUE = FEATURES.index("loss_trend")
CONFIG = TrainConfig(
    stacks=1, slots=8, branches=3, branch_instances=1, workers=1, fine_tuning=False
)


def _world(seed: int, instances: int, layers: int) -> Branches:
    """A stack whose layers gain by a feature, and the first one more; the rest is noise."""
    generator = torch.Generator().manual_seed(seed)
    observation = torch.randn(
        len(MOMENTS), instances, layers, len(FEATURES), generator=generator
    )  # fmt: skip
    # What an instance gains is one number in each half, seen at every moment of it.
    value = torch.randn(instances, 2, 1, generator=generator).clamp(-2, 2)
    late = torch.tensor([moment >= 0.4 for moment in MOMENTS]).long()
    observation[..., VALUE] = value[:, late].transpose(0, 1)
    observation[..., DEPTH] = torch.arange(layers) / (layers - 1)
    first = torch.arange(layers) == 0
    worth = (0.01 * value + 0.02 * first) / layers
    return Branches(observation, worth.expand(-1, 2, layers).clone(), torch.ones(layers))


def _actor(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in zip((len(FEATURES), *widths), widths, strict=False):
        layers += [nn.Linear(before, after), nn.Tanh()]
    actor = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
    nn.init.zeros_(actor[-1].weight)
    nn.init.zeros_(actor[-1].bias)
    return actor


def test_the_rule_finds_what_an_octave_is_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.actor_fit.PENALTY", 10.0)
    # Networks of different depths in one fit.
    rule = fit_rule([_world(seed, 40, 2 + seed % 4) for seed in range(60)], EVERYTHING)
    others = rule.weight.clone()
    others[VALUE] = 0.0
    # Less what the penalty takes; it takes more of what varies less.
    assert float(rule.weight[VALUE]) == pytest.approx(0.01 * NEWTON_STEP, rel=0.2)
    assert 0.65 < rule.first / (0.02 * NEWTON_STEP) < 1.0
    others[DEPTH] = 0.0
    assert float(others.abs().max()) < 0.001 * NEWTON_STEP
    assert abs(rule.last) < 0.003 * NEWTON_STEP


def test_what_the_agent_does_not_see_the_rule_does_not_either() -> None:
    seen = EVERYTHING.clone()
    seen[VALUE] = 0.0
    rule = fit_rule([_world(seed, 20, 3) for seed in range(30)], seen)
    assert float(rule.weight[VALUE]) == 0.0
    # What only noise could stand for is not taken for it; the depth tells the first layer, too.
    assert float(rule.weight.abs().max()) < 0.01 * NEWTON_STEP


def test_layers_that_nothing_moves_have_no_say() -> None:
    whole = [_world(seed, 20, 3) for seed in range(20)]
    told = []
    for own in whole:
        worth, movable = own.worth.clone(), own.movable.clone()
        worth[:, :, 1], movable[1] = 1000.0, 0.0
        told.append(Branches(own.observation, worth, movable))
    rule = fit_rule(told, EVERYTHING)
    assert float(rule.weight.abs().max()) < 0.03 * NEWTON_STEP
    assert rule.first > 0.0


def test_a_rule_is_bounded() -> None:
    weight = torch.zeros(len(FEATURES))
    weight[VALUE] = 1.0
    rule = Rule(weight, first=0.5, last=-0.5, bias=0.25)
    rows = torch.zeros(4, len(FEATURES))
    rows[:, VALUE] = torch.tensor([0.0, 0.0, 100.0, -100.0])
    rows[:, DEPTH] = torch.tensor([0.0, 1.0, 0.5, 0.5])
    octaves = rule.octaves(rows)
    assert float(octaves[0]) == pytest.approx(2.0 * torch.tensor(0.375).tanh())
    assert float(octaves[1]) == pytest.approx(-2.0 * torch.tensor(0.125).tanh())
    assert octaves[2:].tolist() == pytest.approx([MOST_OCTAVES, -MOST_OCTAVES])


@pytest.mark.parametrize("widths", [(64, 64), (8, 16), (16, 8, 8), (8, 8, 8, 8)])
def test_an_actor_that_carries_a_rule_does_what_it_says(widths: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = 0.3 * torch.randn(len(FEATURES), generator=generator)
    rule = Rule(weight, first=0.8, last=-0.4, bias=0.1)
    rows = 0.5 * torch.randn(500, len(FEATURES), generator=generator)
    # Networks of up to twenty layers.
    rows[:, DEPTH] = torch.randint(0, 20, (500,), generator=generator) / 19
    actor = _actor(*widths)
    carry(actor, rule, LEAK)
    octaves = actor(rows).squeeze(1).detach() / LEAK
    assert float((octaves - rule.octaves(rows)).abs().max()) < 0.1
    assert float(octaves.abs().max()) > 0.5


def test_a_rule_wants_room() -> None:
    check_room((64, 4, 8))
    for widths in ((), (64,), (64, 3)):
        with pytest.raises(InvalidArgumentError, match="two hidden layers of 4 units"):
            check_room(widths)


def test_branches_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "00000.safetensors"
    branches = [_world(0, 3, 2), _world(1, 2, 4)]
    _write(path, branches)
    for own, kept in zip(branches, _read(path), strict=True):
        assert all(torch.equal(tensor, vars(kept)[name]) for name, tensor in vars(own).items())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(LrEnvError, match="remove it, and resume"):
        _read(path)


@pytest.mark.usefixtures("inline")
def test_what_is_grown_is_not_grown_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.warm_start.TOGETHER", 1)
    workers, folder = Workers(plan_stacks(CONFIG), 1), RunFolder(tmp_path)
    asked: list[int] = []

    def grown(plans: list[object]) -> list[Branches]:
        asked.append(len(plans))
        return [_world(len(asked), 1, 3) for _ in plans]

    monkeypatch.setattr(workers, "grow", grown)
    quiet = Console(quiet=True)
    assert len(_gather(CONFIG, workers, folder, quiet, time.monotonic())) == 3
    (folder.branches / "00002.safetensors").unlink()
    assert len(_gather(CONFIG, workers, folder, quiet, time.monotonic())) == 3
    assert asked == [1, 1, 1, 1]
    # A cap on time: what there is is taken, and no more is begun.
    (folder.branches / "00001.safetensors").unlink()
    capped = replace(CONFIG, minutes=1.0)
    assert len(_gather(capped, workers, folder, quiet, time.monotonic() - 40.0)) == 1
    assert asked == [1, 1, 1, 1]
    workers.close()


@pytest.mark.usefixtures("inline")
def test_ppo_begins_with_the_rule_and_is_held_to_it(tmp_path: Path) -> None:
    worlds = [_world(seed, 4, 3) for seed in range(8)]
    workers, folder = Workers(plan_stacks(CONFIG), 1), RunFolder(tmp_path)
    env = SlotVecEnv(workers, plan_stacks(CONFIG), discrete=False)
    folder.branches.mkdir()
    _write(folder.branches / "00000.safetensors", worlds)
    model = build_algorithm(CONFIG, env)
    policy = model.policy
    assert isinstance(policy, SharedNoisePolicy)
    rows = torch.randn(200, len(FEATURES), generator=torch.Generator().manual_seed(2))
    rows[:, DEPTH] = torch.arange(200) % 3 / 2
    before = policy.actor(rows).detach()
    warm_start(CONFIG, model, workers, folder, Console(quiet=True), time.monotonic())
    # Beside what it did before, which is the plateau's rule.
    octaves = (policy.actor(rows).detach() - before).squeeze(1) / LEAK
    rule = fit_rule(worlds, seen_features(CONFIG.features_off))
    assert float(rule.octaves(rows).std()) > 0.01
    assert torch.allclose(octaves, rule.octaves(rows), atol=1e-3)
    _, _, divergence = policy.evaluate_actions(rows, torch.zeros(200, 1))
    assert divergence is not None
    assert float(divergence.detach().abs().max()) < 1e-6
    workers.close()
