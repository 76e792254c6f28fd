"""The yardstick: one training in the fastest plain loops that we can write, without an agent.

All have their data in memory, permuted and split once a pass. What is left to gain in them is
calls: networks are written out, and Adam's fused kernel is called on lists that are made once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F  # noqa: N812

from experiments.benchmarks.architectures import BATCH
from experiments.benchmarks.networks import NETWORKS
from lr_env.randomness import IsolatedTorchRandomness, torch_generator
from lr_env.tasks.family.task import FamilyTask

RATE, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Loop:
    """A training: its weights, and what updates them by a mini-batch's inputs and targets."""

    weights: list[Tensor]
    step: Callable[[Tensor, Tensor], object]


def as_usual(task: FamilyTask) -> Loop:
    """Return the loop that people write: a module, its loss and torch.optim's fused Adam."""
    with IsolatedTorchRandomness(0, "model").use():
        model = task.build_model()
    weights = list(model.parameters())
    optimizer = torch.optim.Adam(weights, lr=RATE, betas=(BETA1, BETA2), eps=EPS, fused=True)

    def step(inputs: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(inputs), targets))
        optimizer.step()

    return Loop([own.detach() for own in weights], step)


def fewest_calls(task: FamilyTask, compiled: bool = False) -> Loop:
    """Return a loop of autograd and Adam's kernel; `compiled`: its network by torch.compile."""
    leaves = _leaves(task)
    network = NETWORKS[task.spec.architecture]

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(network(leaves, inputs), targets)

    chosen = torch.compile(loss, fullgraph=True, dynamic=False) if compiled else loss
    weights = [own.detach() for own in leaves]
    update = fused_adam(weights)

    def step(inputs: Tensor, targets: Tensor) -> None:
        update(list(torch.autograd.grad(chosen(inputs, targets), leaves)))

    return Loop(weights, step)


def one_graph(task: FamilyTask, compiled: bool = True) -> Loop:
    """Return a loop whose whole step is one graph, compiled as a stack's is.

    It has neither autograd nor an optimizer of torch's left. Not `compiled`: for a test.
    """
    weights = [own.detach() for own in _leaves(task)]
    network = NETWORKS[task.spec.architecture]
    count = len(weights)

    def step(*given: Tensor) -> Tensor:
        *tensors, made, inputs, targets = given
        with torch.enable_grad():
            leaves = [own.detach().requires_grad_() for own in tensors[:count]]
            loss = F.cross_entropy(network(leaves, inputs), targets)
            gradients = torch.autograd.grad(loss, leaves)
        made += 1.0
        size, scale = RATE / (1.0 - BETA1**made), (1.0 - BETA2**made).rsqrt()
        parts = (tensors[:count], tensors[count : 2 * count], tensors[2 * count :])
        for own, mean, square, gradient in zip(*parts, gradients, strict=True):
            mean.lerp_(gradient, 1.0 - BETA1)
            square.mul_(BETA2).addcmul_(gradient, gradient, value=1.0 - BETA2)
            own.sub_(mean / (square.sqrt() * scale + EPS) * size)
        return loss.detach()

    moments = [torch.zeros_like(own) for own in weights * 2]
    state = [*weights, *moments, torch.zeros(())]
    run: Callable[..., object] = step
    if compiled:
        # Tracing runs the step.
        copies: list[Any] = [own.clone() for own in (*state, *next(batches(task)))]
        with torch.no_grad():
            graph = make_fx(step)(*copies)
        options = {"cpp.threads": torch.get_num_threads(), "size_asserts": False}
        run = torch._inductor.compile(graph, copies, options=options)
    return Loop(weights, torch.no_grad()(partial(run, *state)))


LOOPS: dict[str, Callable[[FamilyTask], Loop]] = {
    "loop as usually written": as_usual,
    "loop of fewest calls": fewest_calls,
    "loop, network compiled": partial(fewest_calls, compiled=True),
    "loop, whole step compiled": one_graph,
}
PLAIN = tuple(LOOPS)[:3]
"""Those of autograd and Adam's fused kernel: the fastest of them is the plain loop."""


def fused_adam(weights: list[Tensor]) -> Callable[[list[Tensor]], None]:
    """Return what updates `weights` in place by their gradients, with torch's fused kernel."""
    means = [torch.zeros_like(own) for own in weights]
    squares = [torch.zeros_like(own) for own in weights]
    made = torch.zeros(())
    steps = [made] * len(weights)

    def update(gradients: list[Tensor]) -> None:
        made.add_(1.0)
        torch._fused_adam_(
            weights, gradients, means, squares, [], steps, lr=RATE, beta1=BETA1, beta2=BETA2,
            weight_decay=0.0, eps=EPS, amsgrad=False, maximize=False,
        )  # fmt: skip

    return update


def batches(task: FamilyTask) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield mini-batches without end, each pass permuted anew and its remainder dropped."""
    generator = torch_generator(0, "benchmark")
    inputs, targets = task.tensors("train")
    whole = len(targets) // BATCH * BATCH
    while True:
        order = torch.randperm(len(targets), generator=generator)[:whole]
        parts = (torch.split(own[order], BATCH) for own in (inputs, targets))
        yield from zip(*parts, strict=True)


def _leaves(task: FamilyTask) -> list[Tensor]:
    with IsolatedTorchRandomness(0, "model").use():
        return list(task.build_model().parameters())
