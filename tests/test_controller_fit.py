"""What a controller can be put to work on: processes, optimizers, models, names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import Optimizer

from lr_env.errors import ModelError
from tests.controlled import advance, control
from tests.toys import build_toy_model

pytestmark = pytest.mark.usefixtures("seeded_globally")


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


def test_an_optimizer_without_a_rate_is_refused() -> None:
    model = build_toy_model()
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.param_groups[0]["lr"] = None
    with pytest.raises(ModelError, match="no learning rate to scale"):
        control(model, optimizer)
