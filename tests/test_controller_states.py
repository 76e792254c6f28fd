"""States that are not of the training that they are loaded into."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from lr_env.controller import LRController
from lr_env.errors import InvalidArgumentError, ModelError
from tests.controlled import advance, control
from tests.toys import CLASSES, INPUTS, build_toy_model

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
