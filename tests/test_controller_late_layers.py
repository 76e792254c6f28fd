"""Layers that have no gradient at first, or are thawed later."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from tests.controlled import STEPS, advance, control
from tests.toys import CLASSES, INPUTS, LateTask, build_toy_model

pytestmark = pytest.mark.usefixtures("seeded_globally")


@pytest.mark.parametrize("lr", [1e-5, 1e-1])
@pytest.mark.parametrize(
    "build",
    [
        lambda p, lr: torch.optim.AdamW(p, lr=lr, weight_decay=0.01),
        lambda p, lr: torch.optim.Adam(p, lr=lr),
        lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
    ],
    ids=["adamw", "adam", "sgd"],
)
def test_a_layer_without_a_first_gradient_is_held_and_then_calibrated(
    build: Callable[..., Optimizer], lr: float
) -> None:
    model = LateTask().build_model()
    optimizer = build(model.parameters(), lr)
    controller = control(model, optimizer)
    rates = advance(model, optimizer, controller, 0, STEPS // 2)
    # Without a first gradient, no rate above that of the layer that has one.
    assert rates[0]["0"] <= rates[0]["2"] * (1 + 1e-6)
    scope = controller._instruments._scope
    assert (scope.highest > scope.lowest).all()
    first, second = controller._instruments._memory.direction.tolist()
    assert first > 0
    assert second > 0
    if "Adam" in type(optimizer).__name__:
        # Its updates are of one size for all: so are the rates, whatever the base was.
        assert 1 / 64 < rates[-1]["0"] / rates[-1]["2"] < 64
        assert 1e-4 < rates[-1]["0"] < 1.0


def test_a_head_that_is_not_used_at_first_does_not_blind_the_others() -> None:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(INPUTS, 8)
            self.heads = nn.ModuleList(nn.Linear(8, CLASSES) for _ in range(2))
            self.used = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = self.body(x).relu()
            head: torch.Tensor = self.heads[self.used](hidden)
            return head

    model = TwoHeads()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    controller = control(model, optimizer)
    seen: list[torch.Tensor] = []
    act = controller.policy.act
    controller.policy.act = lambda observation: (seen.append(observation), act(observation))[1]  # type: ignore[method-assign, func-returns-value]
    advance(model, optimizer, controller, 0, 8)
    instruments = controller._instruments
    assert instruments.z[2] == instruments._scope.start.min() == instruments._scope.highest[2]
    model.used = 1
    advance(model, optimizer, controller, 8, 20)
    assert instruments._scope.lowest[2] < instruments._scope.highest[2]
    assert all(torch.isfinite(own).all() for own in seen)


def test_a_layer_that_is_thawed_later_is_said_to_be_out_of_control() -> None:
    model = build_toy_model()
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 4)
    model[0].requires_grad_(True)
    with pytest.warns(UserWarning, match=r"'0\.weight' has a gradient"):
        advance(model, optimizer, controller, 4, 8)
