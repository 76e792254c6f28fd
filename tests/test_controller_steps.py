"""Steps of other kinds: scaled, left out, nested, past the budget, with losses of other kinds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from lr_env.controller import LRController
from lr_env.errors import ModelError, NonFiniteLossError
from tests.controlled import advance, batch, control
from tests.toys import build_toy_model

pytestmark = pytest.mark.usefixtures("seeded_globally")


def scaled(fused: bool, build: Callable[..., Optimizer], overflow: int | None) -> LRController:
    torch.manual_seed(0)
    model = build_toy_model()
    optimizer = build(model.parameters(), fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    controller = control(model, optimizer)
    for index in range(12):
        x, y = batch(index)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if index == overflow:
            model[0].weight.grad[0, 0] = float("inf")
            loss = loss * float("inf")
        controller.observe(loss)
        scaler.step(optimizer)
        scaler.update()
    return controller


def _sgd(parameters: Any, fused: bool) -> Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, fused=fused)


def _adamw(parameters: Any, fused: bool) -> Optimizer:
    return torch.optim.AdamW(parameters, lr=0.1, fused=fused)


# SGD's fused momentum is made of whatever memory held where the very first step is left out.
@pytest.mark.parametrize(
    ("build", "overflow"), [(_sgd, None), (_sgd, 3), (_adamw, None), (_adamw, 0), (_adamw, 3)]
)
def test_a_gradient_scaler_means_the_same_to_fused_optimizers(
    build: Callable[..., Optimizer], overflow: int | None
) -> None:
    one, other = (scaled(fused, build, overflow) for fused in (False, True))
    assert [own.step for own in one.history] == [own.step for own in other.history]
    for own, its in zip(one.history, other.history, strict=True):
        assert own.learning_rates == pytest.approx(its.learning_rates, rel=1e-3)
        assert own.loss == pytest.approx(its.loss, rel=1e-3)
    made = 12 if overflow is None else 11
    assert one._instruments.step == other._instruments.step == made


def test_a_batch_that_was_skipped_after_the_error_is_forgotten() -> None:
    model = build_toy_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 2)
    controller.observe(float("nan"))
    with pytest.raises(NonFiniteLossError):
        optimizer.step()
    advance(model, optimizer, controller, 2, 10)
    assert controller.history[-1].step == 8


def test_rates_past_the_budget_are_said_to_be_zero_where_they_are() -> None:
    model = build_toy_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    controller = control(model, optimizer, total_steps=6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        advance(model, optimizer, controller, 0, 12)
    assert [str(own.message) for own in caught if "zero from here on" in str(own.message)] != []
    assert len(caught) == 1


class Halving(torch.optim.SGD):
    """An optimizer whose step calls that of its base class: torch hooks both."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["lr"] *= 0.5
        found = super().step(closure)
        for group in self.param_groups:
            group["lr"] *= 2.0
        return found


def test_a_step_within_a_step_is_one() -> None:
    torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)  # whose class is hooked from now on
    model = build_toy_model()
    optimizer = Halving(model.parameters(), 0.01)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 6)
    assert controller._instruments.step == 6
    assert [own.step for own in controller.history] == [0, 1, 2, 4]
    assert optimizer.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize("named", [True, False])
def test_a_closure_is_refused_before_anything_moves(named: bool) -> None:
    model = build_toy_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    controller = control(model, optimizer)
    before = model[0].weight.detach().clone()
    controller.observe(1.0)
    with pytest.raises(ModelError, match="closure"):
        optimizer.step(**{"closure": lambda: 1.0}) if named else optimizer.step(lambda: 1.0)
    assert torch.equal(model[0].weight, before)


def test_losses_below_zero_are_said_to_be_unseen_once() -> None:
    model = build_toy_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    controller = control(model, optimizer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for index in range(4):
            x, y = batch(index)
            loss = nn.functional.cross_entropy(model(x), y) - 5.0
            optimizer.zero_grad()
            loss.backward()
            controller.observe(loss)
            optimizer.step()
    assert len(caught) == 1
    assert "below zero" in str(caught[0].message)


def test_a_step_that_was_left_out_takes_no_losses_of_others_along() -> None:
    model = build_toy_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    controller = control(model, optimizer, steps_per_action=8)
    for index in range(16):
        x, y = batch(index)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if index == 14:
            model[0].weight.grad[0, 0] = float("inf")
        controller.observe(loss)
        scaler.step(optimizer)
        scaler.update()
    # Of the decision at step 8; the one after is due at 16, of which step 14 was left out.
    assert controller.history[-1].step == 8
    assert len(controller._instruments._losses) == 15 - 9
