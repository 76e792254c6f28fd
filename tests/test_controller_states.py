"""States that are not of the training that they are loaded into."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from lr_env.controller import LRController
from lr_env.errors import InvalidArgumentError, ModelError
from lr_env.policy import FrozenPolicy
from tests.controlled import advance, control
from tests.toys import CLASSES, INPUTS, build_toy_model, make_policy

pytestmark = pytest.mark.usefixtures("seeded_globally")


def test_a_state_with_too_many_steps_or_of_another_plan() -> None:
    def begin(total_steps: int) -> tuple[nn.Module, Optimizer, LRController]:
        model = build_toy_model()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        return model, optimizer, control(model, optimizer, total_steps=total_steps)

    model, optimizer, controller = begin(60)
    advance(model, optimizer, controller, 0, 50)
    state = controller.state_dict()
    late = begin(40)[2]
    with pytest.raises(InvalidArgumentError, match="50 steps behind it"):
        late.load_state_dict(state)
    assert late._instruments.step == 0
    with pytest.warns(UserWarning, match="planned for 60 steps"):
        begin(80)[2].load_state_dict(state)
    with pytest.raises(InvalidArgumentError, match="version 7"):
        begin(60)[2].load_state_dict({**state, "version": 7})


def test_a_state_of_other_sizes_changes_nothing() -> None:
    def begin(classes: int) -> tuple[nn.Module, Optimizer, LRController]:
        model = nn.Sequential(nn.Linear(INPUTS, 8), nn.ReLU(), nn.Linear(8, classes))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        return model, optimizer, control(model, optimizer)

    model, optimizer, controller = begin(CLASSES)
    advance(model, optimizer, controller, 0, 6)
    other = begin(CLASSES + 1)[2]
    with pytest.raises(ModelError, match="other sizes"):
        other.load_state_dict(controller.state_dict())
    assert other._instruments.step == 0


def _without(state: dict[str, Any], *names: str) -> dict[str, Any]:
    name, *deeper = names
    if deeper:
        return {**state, name: _without(state[name], *deeper)}
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    "lost",
    [
        ("instruments",), ("history",), ("instruments", "memory"), ("instruments", "z"),
        ("instruments", "memory", "fast"), ("instruments", "statistics", "direction"),
        ("instruments", "scope", "start"), ("instruments", "layers"),
    ],
)  # fmt: skip
def test_a_damaged_state_changes_nothing(lost: tuple[str, ...]) -> None:
    model = build_toy_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 6)
    whole = controller.state_dict()
    fresh = build_toy_model()
    other = control(fresh, torch.optim.Adam(fresh.parameters(), lr=0.01))
    with pytest.raises(ModelError, match="damaged"):
        other.load_state_dict(_without(whole, *lost))
    assert other._instruments.step == 0
    assert not other.history
    assert not other._instruments.z.any()
    other.load_state_dict(whole)
    assert other._instruments.step == 6


def test_a_state_says_how_its_training_was_described() -> None:
    def begin(**said: Any) -> LRController:
        model = build_toy_model()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        return control(model, optimizer, **said)

    state = begin(steps_per_epoch=10, pretrained=True).state_dict()
    with pytest.warns(UserWarning, match="another steps_per_epoch, pretrained"):
        begin(steps_per_epoch=5).load_state_dict(state)
    with pytest.warns(UserWarning, match="another steps_per_action, batch_size"):
        begin(
            steps_per_epoch=10, pretrained=True, steps_per_action=3, batch_size=8
        ).load_state_dict(state)
    begin(steps_per_epoch=10, pretrained=True).load_state_dict(state)
    # As those of earlier versions are.
    older = _without(state, "instruments", "steps_per_epoch")
    begin(steps_per_epoch=5, pretrained=True).load_state_dict(older)


def test_a_policy_is_known_by_its_weights_and_not_by_its_card() -> None:
    def begin(policy: FrozenPolicy) -> LRController:
        model = build_toy_model()
        return LRController(model, torch.optim.Adam(model.parameters()), policy, total_steps=9)

    one, other = make_policy(seed=1), make_policy(seed=2)
    for stranger in (other, FrozenPolicy(other.weights(), {**one.card})):
        with pytest.raises(InvalidArgumentError, match="another policy"):
            begin(stranger).load_state_dict(begin(one).state_dict())
    shipped = FrozenPolicy.load("ppo-v1")
    assert shipped.weights_sha256 == shipped.card["weights_sha256"]
