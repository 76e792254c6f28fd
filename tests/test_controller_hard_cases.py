"""The controller in trainings that are not of the plain kind: late layers, scalers, odd steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from lr_env.action import Envelope
from lr_env.controller import LRController
from lr_env.errors import InvalidArgumentError, ModelError, NonFiniteLossError
from tests.toys import CLASSES, INPUTS, LateTask, build_toy_model, make_policy

STEPS = 40
CALIBRATED = Envelope(
    z_max=10.0, max_step=0.25, z_init="calibrated", ceiling=2.0, schedule="linear", reach=3.0
)


@pytest.fixture(autouse=True)
def global_seed_kept():
    state = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(state)


def batch(index: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(index)
    x = torch.randn(16, INPUTS, generator=generator)
    return x, torch.randint(CLASSES, (16,), generator=generator)


def control(model: nn.Module, optimizer: Optimizer, **arguments: Any) -> LRController:
    chosen = {"total_steps": STEPS, "steps_per_action": 2, **arguments}
    return LRController(model, optimizer, make_policy(envelope=CALIBRATED), **chosen)


def advance(
    model: nn.Module, optimizer: Any, controller: LRController, first: int, last: int
) -> list[dict[str, float]]:
    rates = []
    for index in range(first, last):
        x, y = batch(index)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        controller.observe(loss)
        optimizer.step()
        rates.append(controller.learning_rates)
    return rates


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


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    model = build_toy_model()
    with pytest.raises(ModelError, match="4 processes"):
        control(model, torch.optim.Adam(model.parameters()))


class Counting(Optimizer):
    """An optimizer with an attribute of its own that its steps need."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})
        self.made: list[int] = []

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.made.append(len(self.made))
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.add_(parameter.grad.sign(), alpha=-group["lr"])


def test_an_optimizer_with_attributes_of_its_own_keeps_them() -> None:
    model = build_toy_model()
    optimizer = Counting(model.parameters(), 0.01)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 4)
    assert len(controller.history) == 3
    # Four steps of the training, none of the dry run.
    assert optimizer.made == [0, 1, 2, 3]


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


def test_accelerate_s_wrapper_is_taken_off() -> None:
    class Wrapper:
        def __init__(self, optimizer: Optimizer) -> None:
            self.optimizer = optimizer

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            return getattr(self.optimizer, name)

    model = build_toy_model()
    wrapped = Wrapper(torch.optim.Adam(model.parameters(), lr=0.01))
    controller = control(model, wrapped)  # type: ignore[arg-type]
    advance(model, wrapped, controller, 0, 3)
    assert len(controller.history) == 3


@pytest.mark.parametrize(
    ("build", "says"),
    [(torch.optim.LBFGS, "closure"), (torch.optim.Rprop, "step sizes of its own")],
)
def test_optimizers_that_no_rate_decides_are_refused(
    build: Callable[..., Optimizer], says: str
) -> None:
    model = build_toy_model()
    optimizer = build(model.parameters())
    with pytest.raises(ModelError, match=says):
        control(model, optimizer)
    assert len(optimizer._optimizer_step_pre_hooks) == 0


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


@pytest.mark.parametrize("chosen", [["0"], ["0.weight", "0.bias"], "0", lambda n: n[0] == "0"])
def test_pretrained_parameters_by_name(chosen: Any) -> None:
    model = build_toy_model()
    controller = control(model, torch.optim.Adam(model.parameters()), pretrained=chosen)
    assert [layer.pretrained for layer in controller.layers] == [True, False]


def test_a_pretrained_name_that_is_not_there_is_refused() -> None:
    model = build_toy_model()
    with pytest.raises(ModelError, match=r"'encoder'.*'0\.weight'"):
        control(model, torch.optim.Adam(model.parameters()), pretrained=["0", "encoder"])


def test_a_compiled_model_has_the_names_of_its_own() -> None:
    model = build_toy_model()
    compiled = torch.compile(model, backend="eager")
    controller = control(compiled, torch.optim.Adam(compiled.parameters()), pretrained=["0"])
    assert [layer.name for layer in controller.layers] == ["0", "2"]


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


def test_a_layer_that_is_thawed_later_is_said_to_be_out_of_control() -> None:
    model = build_toy_model()
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    controller = control(model, optimizer)
    advance(model, optimizer, controller, 0, 4)
    model[0].requires_grad_(True)
    with pytest.warns(UserWarning, match=r"'0\.weight' has a gradient"):
        advance(model, optimizer, controller, 4, 8)
