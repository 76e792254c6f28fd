"""A stack's tensors lie on its device: what mixes or waits is found without a GPU.

On the device `meta` tensors have shapes and no numbers, so that whoever asks for a number fails;
what it lets pass and a GPU would not, or only slowly, a watch on all operations finds.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lr_env import devices, look
from lr_env.action import Envelope
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.stack import Stack, StackSettings, TaskFactory, settings, trainings
from lr_env.tasks.family import FamilyTask, held_out_specs
from tests.toys import HalfPretrainedTask, ToyTask

LANES = 3
DEEP = ("residual_cnn", "transformer")
TASKS: dict[str, TaskFactory] = {
    "batchnorm": partial(ToyTask, architecture="batchnorm"),
    "dropout": partial(ToyTask, architecture="dropout"),
    "pretrained": partial(HalfPretrainedTask, architecture="layernorm"),
    **{
        spec.architecture: partial(FamilyTask, replace(spec, depth=1, train_size=100))
        for spec in held_out_specs()
        if spec.architecture in DEEP
    },
}


class Border(TorchDispatchMode):
    """Counts copies between CPU and device, and refuses all other operations on both."""

    def __init__(self) -> None:
        super().__init__()
        self.crossed = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        assert copies or not _on_both_sides(args, kwargs), f"{func} on both sides"
        result = func(*args, **(kwargs or {}))
        self.crossed += _on_both_sides(args, kwargs, result)
        return result


def _on_both_sides(*values: Any) -> bool:
    # A single number goes along with the operation that it is for.
    tensors = [own for own in tree_leaves(values) if isinstance(own, Tensor) and own.ndim]
    return len({own.device.type for own in tensors}) > 1


@pytest.fixture
def no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stacks be on `meta`, and be told ones where they ask for numbers once a decision."""
    monkeypatch.setattr(settings, "check_device", torch.device)
    monkeypatch.setattr(devices, "on_host", lambda own: torch.ones_like(own, device="cpu"))
    monkeypatch.setattr(look, "_any", lambda mask: True)

    def on_cpu(*keys: Any, device: Any = None) -> IsolatedTorchRandomness:
        return IsolatedTorchRandomness(*keys)

    monkeypatch.setattr(trainings, "IsolatedTorchRandomness", on_cpu)


def _build(task: TaskFactory, **arguments: Any) -> Stack:
    chosen = StackSettings(**{
        "total_steps": 40, "base_lr": (1e-4, 1e-2), "schedules": ("cosine",), "device": "meta",
        "validation_seen": 0.5, **arguments,
    })  # fmt: skip
    return Stack(task, LANES, chosen)


@pytest.mark.usefixtures("no_numbers")
@pytest.mark.parametrize(
    "task",
    [
        # Networks of many layers take seconds, and no other way through a decision.
        pytest.param(task, id=name, marks=pytest.mark.slow if name in DEEP else ())
        for name, task in TASKS.items()
    ],
)
def test_a_decision_crosses_to_the_device_equally_often_however_many_updates_it_makes(
    task: TaskFactory,
) -> None:
    envelope = Envelope(z_init="calibrated", pretrained_reach=0.0, shared=True, leak=0.1)
    stack = _build(task, optimizer="adamw", envelope=envelope)
    assert stack._trainings._tensors.flat.device.type == stack._z.device.type == "meta"
    crossings, updates = [], []
    with Border() as border:
        assert stack.reset(0).device.type == "cpu"
        for turn in range(6):
            if turn == 4:  # from here on lanes stop apart, and their updates are masked
                stack.begin(torch.tensor([False, True, False]))
            before, steps = border.crossed, stack.steps
            outcome = stack.advance(torch.zeros(LANES, len(stack.layers)))
            crossings.append(border.crossed - before)
            updates.append(int(steps.clamp(1, 5).max()))
            assert {own.device.type for own in vars(outcome).values()} == {"cpu"}
        assert {own.device.type for own in vars(stack.figures).values()} == {"cpu"}
    assert updates == [1, 1, 2, 3, 4, 5]
    # Ten there: action, mask, lanes, signals and six of the interval; losses and observations back.
    assert set(crossings) == {12}


@pytest.mark.usefixtures("no_numbers")
def test_the_watch_sees_what_mixes_and_what_waits() -> None:
    there = torch.zeros(3, device="meta")
    with Border() as border:
        mixtures = (
            lambda: there + torch.zeros(3),
            lambda: there[torch.tensor([0])],
            lambda: torch.zeros(2, 3) @ there,
            lambda: there.gather(0, torch.zeros(1, dtype=torch.long)),
        )
        for mixed in mixtures:
            with pytest.raises(AssertionError, match="both sides"):
                mixed()
        for waits in (there.tolist, lambda: bool(there.any()), lambda: there[there > 0]):
            with pytest.raises((RuntimeError, NotImplementedError)):
                waits()
        assert border.crossed == 0
        torch.zeros(3).to(there.device)
        there[:] = torch.zeros(3)
        assert border.crossed == 2


def test_state_goes_from_device_to_device_by_way_of_the_cpu() -> None:
    stack = _build(TASKS["batchnorm"], device="cpu")
    stack.reset(0)
    state = stack.state_dict()
    for part in ("tensors", "own", "memory", "scope"):
        for own in state[part].values():
            assert own.device.type == "cpu"
    state["own"]["_z"] += 1.0
    assert not (stack.scales == state["own"]["_z"]).any()
