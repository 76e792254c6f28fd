"""Hand-written losses and gradients are autograd's, and taken only where they are."""

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lr_env.errors import DataError
from lr_env.stack import Stack, StackSettings, perceptron
from lr_env.stack.arithmetic import Batch
from lr_env.stack.model import StackedModel
from lr_env.stack.perceptron import Perceptron
from tests.test_stack_compiled import LANES, _largest_gap, _pair
from tests.toys import ToyTask

SAMPLES = 40


def _mlp(widths: list[int], *activations: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for index, (before, after) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Linear(before, after), *(own() for own in activations[index : index + 1])]
    return nn.Sequential(*layers)


def _samples(model: nn.Sequential, dtype: torch.dtype, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = next(own.in_features for own in model.modules() if isinstance(own, nn.Linear))
    return (
        torch.randn(SAMPLES, inputs, generator=generator, dtype=dtype),
        torch.randint(0, classes, (SAMPLES,), generator=generator),
    )


def _lanes(model: StackedModel, num: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    own = model.flatten(model.template).to(dtype).expand(num, -1)
    return own + 0.3 * torch.randn(own.shape, generator=generator, dtype=dtype)


def _built(
    model: nn.Module, loss: Any = nn.functional.cross_entropy, dtype: torch.dtype = torch.float64
) -> tuple[StackedModel, Perceptron | None, tuple[Tensor, Tensor]]:
    stacked = StackedModel(model.to(dtype), loss)
    classes = [own.out_features for own in model.modules() if isinstance(own, nn.Linear)][-1]
    samples = _samples(model, dtype, classes)
    return stacked, Perceptron.of(stacked, *samples, threads=1), samples


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("widths", "activations"),
    [
        ([64, 32, 32, 10], (nn.ReLU, nn.ReLU)),
        ([30, 17, 2], (nn.Tanh,)),
        ([5, 33, 9, 20, 3], (nn.Tanh, nn.ReLU, nn.Tanh)),
        ([7, 3], ()),
    ],
)
@pytest.mark.parametrize("batch", [1, 8, 13])
def test_losses_and_gradients_are_those_of_autograd(
    widths: list[int], activations: tuple[type[nn.Module], ...], batch: int, dtype: torch.dtype
) -> None:
    model, own, (inputs, targets) = _built(_mlp(widths, *activations), dtype=dtype)
    assert own is not None
    flat = _lanes(model, 3, dtype)
    places = torch.stack([torch.randperm(SAMPLES)[:batch] for _ in range(3)])
    gradient = torch.zeros_like(flat)
    losses = own.differentiate(flat, gradient, Batch(inputs, targets, places), None)
    wanted = model.differentiate(flat, {}, inputs[places], targets[places])
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12}
    torch.testing.assert_close((losses, gradient), wanted, **{"atol": 1e-12, **close})
    # More samples than are taken at a time, and a remainder.
    many = torch.stack([inputs, inputs.flip(0), inputs]), torch.stack([targets] * 3)
    torch.testing.assert_close(
        own.evaluate(flat, *many), model.evaluate(flat, {}, *many), **{"atol": 1e-12, **close}
    )


def test_threads_share_the_lanes_and_change_nothing() -> None:
    model, alone, (inputs, targets) = _built(_mlp([6, 8, 3], nn.ReLU))
    shared = Perceptron.of(model, inputs, targets, threads=2)
    assert alone is not None
    assert shared is not None
    flat = _lanes(model, 7, torch.float64)
    places = torch.stack([torch.randperm(SAMPLES)[:5] for _ in range(7)])
    found = []
    for own in (alone, shared):
        gradient = torch.zeros_like(flat)
        losses = own.differentiate(flat, gradient, Batch(inputs, targets, places), None)
        many = inputs.expand(7, -1, -1).contiguous(), targets.expand(7, -1).contiguous()
        found.append(torch.cat([losses, own.evaluate(flat, *many), gradient.flatten()]))
    assert torch.equal(*found)


def test_lanes_that_do_not_run_are_left_alone() -> None:
    model, own, (inputs, targets) = _built(_mlp([6, 8, 3], nn.ReLU))
    assert own is not None
    flat = _lanes(model, 3, torch.float64)
    places = torch.arange(5).expand(3, -1).contiguous()
    gradient = torch.full_like(flat, 7.0)
    running = torch.tensor([True, False, True])
    losses = own.differentiate(flat, gradient, Batch(inputs, targets, places), running)
    assert losses[1] == 0.0
    assert (gradient[1] == 7.0).all()
    assert (gradient[0] != 7.0).any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e300])
def test_what_is_not_finite_stays_so(value: float) -> None:
    model, own, (inputs, targets) = _built(_mlp([6, 8, 3], nn.ReLU))
    assert own is not None
    flat = _lanes(model, 2, torch.float64)
    # The first hidden unit's weights: its activation, and so all logits, are lost in lane 0.
    flat[0, :6] = value
    places = torch.arange(5).expand(2, -1).contiguous()
    gradient = torch.zeros_like(flat)
    losses = own.differentiate(flat, gradient, Batch(inputs, targets, places), None)
    wanted, _ = model.differentiate(flat, {}, inputs[places], targets[places])
    assert torch.equal(torch.isfinite(losses), torch.isfinite(wanted))
    assert torch.isfinite(losses[1])


def test_a_target_that_is_no_class_is_said() -> None:
    model, own, (inputs, targets) = _built(_mlp([6, 8, 3], nn.ReLU))
    assert own is not None
    flat = _lanes(model, 1, torch.float64)
    for wrong in (-100, 3):
        targets[4] = wrong
        batch = Batch(inputs, targets, torch.arange(5).unsqueeze(0))
        with pytest.raises(DataError, match="no class of 0 to 2"):
            own.differentiate(flat, torch.zeros_like(flat), batch, None)
        with pytest.raises(DataError, match="`compile` off"):
            own.evaluate(flat, inputs.unsqueeze(0), targets.unsqueeze(0))


class _Doubled(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2.0 * super().forward(inputs)


def _hooked() -> nn.Sequential:
    model = _mlp([6, 8, 3], nn.ReLU)
    model[1].register_forward_hook(lambda module, inputs, outputs: 2.0 * outputs)
    return model


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(6, 3), nn.ReLU()),
        nn.Sequential(_Doubled(6, 8), nn.ReLU(), nn.Linear(8, 3)),
        nn.Sequential(*[own for _ in range(17) for own in (nn.Linear(6, 6), nn.ReLU())][:-1]),
        nn.Sequential(*[nn.Linear(6, 6), nn.Tanh()] * 2, nn.Linear(6, 3)),
        _hooked(),
    ],
)
def test_other_models_are_left_to_torch(model: nn.Sequential) -> None:
    assert _built(model)[1] is None


def test_other_losses_and_kinds_of_numbers_are_left_to_torch() -> None:
    smoothed = partial(nn.functional.cross_entropy, label_smoothing=0.1)
    assert _built(_mlp([6, 8, 3], nn.ReLU), smoothed)[1] is None
    assert _built(_mlp([6, 8, 3], nn.ReLU), dtype=torch.bfloat16)[1] is None


@pytest.mark.parametrize("compiler", ["there-is-none", "false"])
def test_without_a_compiler_there_is_none(monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    monkeypatch.setenv("CXX", compiler)
    perceptron._library.cache_clear()
    try:
        assert _built(_mlp([6, 8, 3], nn.ReLU))[1] is None
    finally:
        perceptron._library.cache_clear()


def test_a_compiled_stack_of_perceptrons_equals_the_eager_one() -> None:
    # Lanes end apart, within intervals, so that some wait for others.
    eager, compiled = _pair(ToyTask, "adam", (8, 30))
    assert compiled._trainings._arithmetic._perceptron is not None
    gap, ended = _largest_gap(eager, compiled, 14)
    assert ended > LANES
    assert gap <= 1e-9


def test_a_compiled_stack_has_as_many_threads_as_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(Perceptron, "of", lambda *args: given.append(args[-1]))
    Stack(ToyTask, 2, StackSettings(compile=True))
    assert given == [torch.get_num_threads()]
