"""Hand-written losses and gradients are autograd's, and taken only where they are.

What is done to a layer is what the eager arithmetic does to it.
"""

import itertools
import pickle
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lr_env.errors import CompilerError, DataError
from lr_env.stack import Stack, StackSettings, layer_loops, perceptron
from lr_env.stack.arithmetic import LaneTensors
from lr_env.stack.blocks import BlockRunner
from lr_env.stack.interval import Interval, Readings
from lr_env.stack.model import StackedModel
from lr_env.stack.native import library
from lr_env.stack.optimizers import STACKED_OPTIMIZERS, build_stacked_optimizer
from lr_env.stack.perceptron import Perceptron
from tests.test_stack_compiled import LANES, _largest_gap
from tests.toys import ToyTask

SAMPLES = 100


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
    model: nn.Module,
    loss: Any = nn.functional.cross_entropy,
    dtype: torch.dtype = torch.float64,
    threads: int = 1,
) -> tuple[StackedModel, Perceptron | None, tuple[Tensor, Tensor]]:
    stacked = StackedModel(model.to(dtype), loss)
    linear = [own for own in model.modules() if isinstance(own, nn.Linear)]
    sizes = [sum(p.numel() for p in own.parameters()) for own in linear]
    samples = _samples(model, dtype, linear[-1].out_features)
    optimizer = build_stacked_optimizer("adam")
    return stacked, Perceptron.of(stacked, optimizer, sizes, samples, threads), samples


def _still(
    own: Perceptron,
    flat: Tensor,
    samples: tuple[Tensor, Tensor],
    places: Tensor,
    held_out: tuple[Tensor, Tensor] | None = None,
    counts: Tensor | None = None,
) -> tuple[Readings, Tensor]:
    """Make an update at a rate of 0; return what it came to, and the gradients after it."""
    num, optimizer = len(flat), build_stacked_optimizer("adam")
    if held_out is None:
        held_out = tuple(part[:1].expand(num, *part[:1].shape).contiguous() for part in samples)
    factors = optimizer.factors(flat.new_ones((num, 1)))
    running = torch.ones((1, num), dtype=torch.bool)
    scales = flat.new_ones((num, len(own._offsets) - 1))
    interval = Interval(
        counts=torch.ones(num, dtype=torch.long) if counts is None else counts,
        running=running,
        last=running,
        scales=scales,
        rates=flat.new_zeros((1, num, 1)),
        factors=factors.unsqueeze(0),
        reached=factors,
        batches=places.unsqueeze(0),
    )
    lanes = LaneTensors.fresh(flat.clone(), optimizer.init(flat), {}, scales.shape[1])
    # What a lane that makes no update shall leave as it is.
    gradient = lanes.gradient.fill_(7.0)
    readings = own.run(interval, lanes, samples, held_out)
    assert torch.equal(lanes.flat.nan_to_num(), flat.nan_to_num())
    return readings, gradient


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
    # More held-out samples than are taken at a time, and a remainder.
    many = torch.stack([inputs, inputs.flip(0), inputs]), torch.stack([targets] * 3)
    readings, gradient = _still(own, flat, (inputs, targets), places, many)
    wanted = model.differentiate(flat, {}, inputs[places], targets[places])
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12}
    torch.testing.assert_close(
        (readings.losses[0], gradient, readings.validation),
        (*wanted, model.evaluate(flat, {}, *many)),
        **{"atol": 1e-12, **close},
    )


def test_threads_share_the_lanes_and_change_nothing() -> None:
    found = []
    for threads in (1, 2):
        torch.manual_seed(0)
        model, own, samples = _built(_mlp([6, 8, 3], nn.ReLU), threads=threads)
        assert own is not None
        places = torch.arange(35).view(7, 5)
        readings, gradient = _still(own, _lanes(model, 7, torch.float64), samples, places)
        found.append(torch.cat([*(part.flatten() for part in readings), gradient.flatten()]))
    assert torch.equal(*found)


def test_lanes_that_do_not_run_are_left_alone() -> None:
    model, own, samples = _built(_mlp([6, 8, 3], nn.ReLU))
    assert own is not None
    flat = _lanes(model, 3, torch.float64)
    places = torch.arange(5).expand(3, -1).contiguous()
    readings, gradient = _still(own, flat, samples, places, counts=torch.tensor([1, 0, 1]))
    assert readings.losses[0, 1] == 0.0
    assert (gradient[1] == 7.0).all()
    assert (gradient[0] != 7.0).any()
    # Evaluated and read they are.
    assert readings.validation[1] > 0.0
    assert (readings.raw[1, :, 0] > 0.0).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e300])
def test_what_is_not_finite_stays_so(value: float) -> None:
    model, own, (inputs, targets) = _built(_mlp([6, 8, 3], nn.ReLU))
    assert own is not None
    flat = _lanes(model, 2, torch.float64)
    # The first hidden unit's weights: its activation, and so all logits, are lost in lane 0.
    flat[0, :6] = value
    places = torch.arange(5).expand(2, -1).contiguous()
    readings, _ = _still(own, flat, (inputs, targets), places)
    wanted, _ = model.differentiate(flat, {}, inputs[places], targets[places])
    assert torch.equal(torch.isfinite(readings.losses[0]), torch.isfinite(wanted))
    assert torch.isfinite(readings.losses[0, 1])


def test_a_target_that_is_no_class_is_said() -> None:
    model, own, (inputs, targets) = _built(_mlp([6, 8, 3], nn.ReLU))
    assert own is not None
    flat, places = _lanes(model, 1, torch.float64), torch.arange(5).unsqueeze(0)
    right = inputs.unsqueeze(0), targets.unsqueeze(0).clone()
    for wrong in (-100, 3):
        targets[4] = wrong
        with pytest.raises(DataError, match="no class of 0 to 2"):
            _still(own, flat, (inputs, targets), places, right)
        with pytest.raises(DataError, match="`compile` off"):
            _still(own, flat, (inputs, targets), places[:, :2], (inputs[None], targets[None]))


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


def test_tied_weights_and_buffers_are_left_to_torch() -> None:
    tied = _mlp([6, 6, 6], nn.Tanh)
    tied[3].weight = tied[1].weight
    assert _built(tied)[1] is None
    buffered = _mlp([6, 8, 3], nn.ReLU)
    buffered.register_buffer("seen", torch.zeros(4))
    assert _built(buffered)[1] is None


class _OwnLossTask(ToyTask):
    def loss_from_outputs(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss_from_outputs(outputs, targets)


def test_a_task_s_own_loss_is_left_to_torch() -> None:
    # Even if the trial finds nothing: it may be cross-entropy on the samples that are tried.
    stack = Stack(_OwnLossTask, 2, StackSettings(compile=True))
    assert isinstance(stack._trainings._runner, BlockRunner)


def test_other_losses_and_kinds_of_numbers_are_left_to_torch() -> None:
    smoothed = partial(nn.functional.cross_entropy, label_smoothing=0.1)
    assert _built(_mlp([6, 8, 3], nn.ReLU), smoothed)[1] is None
    assert _built(_mlp([6, 8, 3], nn.ReLU), dtype=torch.bfloat16)[1] is None


@pytest.mark.parametrize("compiler", ["there-is-none", "false"])
def test_without_a_compiler_there_is_none(monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(perceptron, "library", library.__wrapped__)
    for name in ("_network", "_address"):
        monkeypatch.setattr(perceptron, name, getattr(perceptron, name).__wrapped__)
    with pytest.warns(RuntimeWarning, match="install GCC or name it in CXX"):
        assert _built(_mlp([6, 8, 3], nn.ReLU))[1] is None


def test_a_stack_that_comes_where_no_compiler_is_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(ToyTask, 2, StackSettings(compile=True))
    stack.reset(0)
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setattr(perceptron, "_network", lambda: library.__wrapped__("int x;"))
    with pytest.raises(CompilerError, match="leave `compile` off"):
        stack.step(torch.zeros(2, len(stack.layers)))


@pytest.mark.parametrize(
    ("optimizer", "arguments"),
    [
        *((name, {}) for name in STACKED_OPTIMIZERS),
        ("adam", {"weight_decay": 0.1}),
        ("adamax", {"weight_decay": 0.1}),
        ("rmsprop", {"weight_decay": 0.1}),
        ("sgd", {"weight_decay": 0.1}),
        ("sgd", {"momentum": 0.0}),
        ("adam", {"eps": 0.0}),
    ],
)
def test_a_compiled_stack_of_perceptrons_equals_the_eager_one(
    optimizer: str, arguments: dict[str, float]
) -> None:
    # Lanes end apart, within intervals, so that some wait for others.
    settings = StackSettings(
        optimizer=optimizer, optimizer_arguments=arguments, base_lr=(1e-4, 1e-2),
        schedules=("cosine", "constant"), total_steps=(8, 30), steps_per_action=3,
        dtype=torch.float64,
    )  # fmt: skip
    eager = Stack(ToyTask, LANES, settings)
    compiled = Stack(ToyTask, LANES, replace(settings, compile=True))
    assert isinstance(compiled._trainings._runner, Perceptron)
    gap, ended = _largest_gap(eager, compiled, 14)
    assert ended > LANES
    assert gap <= 1e-9
    copy = pickle.loads(pickle.dumps(compiled))  # noqa: S301
    assert isinstance(copy._trainings._runner, Perceptron)


class _TurnedTask(ToyTask):
    """The same; its samples lie in memory feature by feature."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._splits = {name: (x.T.contiguous().T, y) for name, (x, y) in self._splits.items()}


def test_a_single_lane_on_samples_in_another_order_and_in_large_batches() -> None:
    settings = StackSettings(
        base_lr=1e-2, total_steps=6, steps_per_action=3, dtype=torch.float64, batch_size=60
    )
    eager = Stack(_TurnedTask, 1, settings)
    compiled = Stack(_TurnedTask, 1, replace(settings, compile=True))
    assert isinstance(compiled._trainings._runner, Perceptron)
    torch.testing.assert_close(eager.reset(0), compiled.reset(0), rtol=0, atol=1e-9)
    for _ in range(3):
        idle = torch.zeros(1, len(eager.layers))
        one, other = eager.step(idle).observation, compiled.step(idle).observation
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_what_is_all_but_impossible_is_impossible() -> None:
    # Logits a thousand apart: a gradient of exactly 0, as autograd has it.
    model, own, samples = _built(_mlp([6, 3]))
    assert own is not None
    flat = _lanes(model, 1, torch.float64)
    flat[0, -3:] = torch.tensor([1000.0, 0.0, 0.0])
    places = (samples[1] == 0).nonzero().squeeze(1)[:5].unsqueeze(0)
    _, gradient = _still(own, flat, samples, places)
    wanted = model.differentiate(flat, {}, samples[0][places], samples[1][places])[1]
    assert torch.equal(gradient, wanted)
    assert not gradient.any()


def test_an_optimizer_without_a_loop_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(layer_loops._FORMS, "addcmul")
    assert _built(_mlp([6, 8, 3], nn.ReLU))[1] is None
    stack = Stack(ToyTask, 2, StackSettings(compile=True))
    assert isinstance(stack._trainings._runner, BlockRunner)


def test_a_compiled_stack_has_as_many_threads_as_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(Perceptron, "of", lambda *args: given.append(args[-1]))
    Stack(ToyTask, 2, StackSettings(compile=True))
    assert given == [torch.get_num_threads()]
