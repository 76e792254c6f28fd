"""What happens to rates, model and optimizer while a controller is at work on them."""

from __future__ import annotations

import copy
import threading
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lr_env.controller import LRController
from lr_env.errors import InvalidArgumentError, ModelError, PolicyError
from lr_env.policy import FrozenPolicy
from tests.controlled import STEPS, adam, advance, control
from tests.toys import build_toy_model, make_policy


@pytest.mark.parametrize("factor", [1000.0, 0.1])
def test_rates_moved_by_hand_are_a_second_schedule(factor: float) -> None:
    model = build_toy_model()
    optimizer = adam(model, 1e-4)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 1)
    optimizer.param_groups[0]["lr"] *= factor
    with pytest.warns(UserWarning, match="policy's start was found"):
        advance(model, optimizer, controller, 1, 3)


def test_rates_moved_by_hand_are_noticed_after_resuming() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 2)
    state = controller.state_dict()
    controller.detach()
    optimizer.param_groups[0]["lr"] = 1e-4
    again = control(model, optimizer)
    again.load_state_dict(state)
    with pytest.warns(UserWarning, match="policy's start was found"):
        advance(model, optimizer, again, 2, 5)


def test_rates_that_stay_are_not_remarked_upon() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    controller = control(model, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advance(model, optimizer, controller, 0, 10)


def test_a_start_outside_of_the_envelope_is_remarked_upon() -> None:
    model = build_toy_model()
    optimizer = adam(model, 1e-9)
    controller = control(model, optimizer)
    with pytest.warns(UserWarning, match="start at the envelope's edge, 10 octaves"):
        advance(model, optimizer, controller, 0, 1)


class Lookahead(Optimizer):
    """Steps through an optimizer of its own, as many wrappers do."""

    def __init__(self, base: Optimizer) -> None:
        super().__init__(base.param_groups, {})
        self.base = base

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.base.step()


def test_an_optimizer_that_leaves_its_steps_to_another_is_refused_with_the_name_of_that() -> None:
    model = build_toy_model()
    with pytest.raises(ModelError, match=r"the Adam inside it: hand over optimizer\.base"):
        control(model, Lookahead(adam(model)))


class Breaks(torch.optim.Adam):
    """Raises in its step when told to."""

    fails = False

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        if self.fails:
            raise RuntimeError("broken off")
        return super().step(closure)


def test_an_optimizer_is_loaded_after_a_step_that_broke_off() -> None:
    model = build_toy_model()
    optimizer = Breaks(model.parameters(), lr=1e-3)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 3)
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer.fails = True
    with pytest.raises(RuntimeError, match="broken off"):
        advance(model, optimizer, controller, 3, 4)
    optimizer.fails = False
    optimizer.load_state_dict(saved)
    advance(model, optimizer, controller, 3, 5)
    assert len(optimizer.param_groups) == 1
    assert controller.state_dict()["instruments"]["step"] == 5


def test_a_module_that_was_replaced_is_noticed() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 2)
    model[0] = copy.deepcopy(model[0])
    with pytest.raises(ModelError, match="were replaced in the model"):
        advance(model, optimizer, controller, 2, 6)


def test_parameters_that_left_the_optimizer_are_noticed() -> None:
    model = build_toy_model()
    optimizer = adam(model)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 2)
    del optimizer.param_groups[0]["params"][0:2]
    with pytest.raises(ModelError, match="no longer holds all parameters"):
        advance(model, optimizer, controller, 2, 6)


class Noisy(torch.optim.SGD):
    """Adds noise from the global generator, and holds what cannot be copied."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr)
        self.lock = threading.Lock()
        self.generator = torch.Generator().manual_seed(1)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.add_(1e-6 * torch.randn(parameter.shape))
                parameter.add_(1e-6 * torch.randn(parameter.shape, generator=self.generator))


def test_the_dry_run_leaves_generators_as_they_are_and_takes_what_cannot_be_copied() -> None:
    ends, first = [], build_toy_model()
    for controlled in (True, False):
        model = copy.deepcopy(first)
        optimizer = Noisy(model.parameters(), 0.0)
        torch.manual_seed(0)
        if controlled:
            # No rate, so that the noise alone moves the weights.
            controller = control(model, optimizer, z_init="zero")
            advance(model, optimizer, controller, 0, 3)
        else:
            for _ in range(3):
                optimizer.step()
        ends.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach())
    assert torch.equal(*ends)


def test_what_is_of_the_wrong_type_is_answered_in_a_sentence() -> None:
    model = build_toy_model()
    with pytest.raises(InvalidArgumentError, match="z_max must be a number, not '2'"):
        control(model, adam(model), z_max="2")
    with pytest.raises(InvalidArgumentError, match="steps_per_epoch must be a number"):
        control(model, adam(model), steps_per_epoch="10")
    with pytest.raises(ModelError, match=r"to be a torch\.nn\.Module, not a str"):
        LRController("model", adam(model), make_policy(), total_steps=STEPS)  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="not None"):
        LRController(model, adam(model), None, total_steps=STEPS)  # type: ignore[arg-type]


def test_a_policy_keeps_no_tensor_of_others() -> None:
    weights = {name: own.clone() for name, own in make_policy().weights().items()}
    policy = FrozenPolicy(weights, make_policy().card)
    before = policy.weights()["0.weight"].clone()
    weights["0.weight"].add_(1.0)
    assert torch.equal(policy.weights()["0.weight"], before)


def test_parameters_without_numbers_are_nothing_to_remark_upon() -> None:
    model = build_toy_model()
    model.register_parameter("empty", nn.Parameter(torch.zeros(0, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        control(model, adam(model))


def test_a_group_that_is_added_after_a_step_that_broke_off_stays() -> None:
    model, late = build_toy_model(), nn.Linear(2, 2)
    optimizer = Breaks(model.parameters(), lr=1e-3)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 3)
    optimizer.fails = True
    with pytest.raises(RuntimeError, match="broken off"):
        advance(model, optimizer, controller, 3, 4)
    optimizer.fails = False
    optimizer.add_param_group({"params": list(late.parameters()), "lr": 0.5})
    advance(model, optimizer, controller, 3, 5)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 0.5]


def test_hooks_on_the_steps_of_all_optimizers_count_those_that_are_made() -> None:
    model, steps = build_toy_model(), []
    optimizer = adam(model)
    controller = control(model, optimizer)
    handle = register_optimizer_step_pre_hook(lambda own, *_: steps.append(own))
    try:
        advance(model, optimizer, controller, 0, 3)
    finally:
        handle.remove()
    assert steps == [optimizer] * 3


def test_a_warning_that_is_an_error_leaves_nothing_attached() -> None:
    model, other = build_toy_model(), nn.Linear(2, 2)
    optimizer = torch.optim.Adam([*model.parameters(), *other.parameters()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="not this model's"):
            control(model, optimizer)
    assert not optimizer._optimizer_step_pre_hooks
    with pytest.warns(UserWarning, match="not this model's"):
        control(model, optimizer)
