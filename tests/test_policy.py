"""The frozen policy: what it does, and that its folder carries all of it."""

from pathlib import Path

import pytest
import torch

from lr_env.action import DISCRETE_ACTIONS, Envelope
from lr_env.controller import LRController
from lr_env.errors import LrEnvError, OutputError, UnknownNameError
from lr_env.observation import FEATURES
from lr_env.policy import DEFAULT_POLICY, FrozenPolicy, policy_names, resolve_policy
from tests.toys import build_toy_model, make_policy


def observations(*lead: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(*lead, len(FEATURES), generator=generator)


@pytest.mark.parametrize("discrete", [False, True])
def test_round_trip_keeps_actions_card_and_envelope(tmp_path: Path, discrete: bool) -> None:
    envelope = Envelope(z_max=3.5, mode="residual", max_step=0.75, z_init="zero")
    policy = make_policy(discrete=discrete, envelope=envelope)
    policy.save(tmp_path / "mine")
    loaded = FrozenPolicy.load(tmp_path / "mine")
    assert torch.equal(loaded.act(observations(7)), policy.act(observations(7)))
    assert loaded.card == policy.card
    assert loaded.envelope == envelope
    assert loaded.discrete is discrete
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == [
        "card.json",
        "policy.safetensors",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_saving_over_a_policy_replaces_it_whole(tmp_path: Path) -> None:
    make_policy(seed=1).save(tmp_path / "mine")
    make_policy(seed=2).save(tmp_path / "mine")
    loaded = FrozenPolicy.load(tmp_path / "mine")
    assert torch.equal(loaded.act(observations(3)), make_policy(seed=2).act(observations(3)))


def test_saving_where_a_file_stands_is_refused_and_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("notes")
    with pytest.raises(OutputError, match="mine"):
        make_policy().save(tmp_path / "mine")
    with pytest.raises(OutputError, match="choose another folder"):
        make_policy().save(tmp_path / "mine" / "below")
    assert (tmp_path / "mine").read_text() == "notes"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_actions_are_bounded_and_need_no_particular_shape() -> None:
    policy = make_policy()
    actions = policy.act(observations(5, 4, 3) * 100)
    assert actions.shape == (5, 4, 3)
    assert actions.abs().max() == 1.0
    alone = policy.act(observations(5, 4, 3)[2, 1] * 100)
    torch.testing.assert_close(alone, actions[2, 1])
    assert policy.act(observations(2).double()).dtype == torch.float64


def test_discrete_policies_take_the_most_preferred_action() -> None:
    policy = make_policy(discrete=True)
    actions = policy.act(observations(400))
    assert set(actions.tolist()) <= set(DISCRETE_ACTIONS)
    assert len(set(actions.tolist())) > 1


def test_layers_are_treated_alike() -> None:
    policy = make_policy()
    rows = observations(6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(policy.act(rows[order]), policy.act(rows)[order])


def test_policies_are_taken_by_object_path_or_name(tmp_path: Path) -> None:
    policy = make_policy()
    assert resolve_policy(policy) is policy
    policy.save(tmp_path / "mine")
    assert resolve_policy(str(tmp_path / "mine")).name == "random"
    with pytest.raises(UnknownNameError) as caught:
        resolve_policy("no-such-policy")
    assert isinstance(caught.value, LrEnvError)


@pytest.mark.parametrize(
    "name", ["../lr_env", "..", "../../etc", "/etc/passwd", "ppo-v1/../..", ""]
)
def test_names_that_climb_out_are_no_shipped_policies(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LrEnvError) as caught:
        FrozenPolicy.load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", policy_names())
def test_shipped_policies_load_and_control(name: str) -> None:
    policy = FrozenPolicy.load(name)
    assert policy.name == name
    model = build_toy_model()
    optimizer = torch.optim.Adam(model.parameters())
    controller = LRController(model, optimizer, name, total_steps=3)
    for _ in range(3):
        loss = model(torch.ones(4, 6)).square().mean()
        loss.backward()
        controller.observe(loss)
        optimizer.step()
    assert len(controller.history) == 3


def test_the_default_policy_is_shipped() -> None:
    assert DEFAULT_POLICY in policy_names()
