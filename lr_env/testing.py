"""`check_task`: is a task of your own sound?"""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lr_env.errors import TaskError
from lr_env.randomness import IsolatedTorchRandomness, torch_generator
from lr_env.tasks.base import SPLITS, Task
from lr_env.tasks.registry import make_task
from lr_env.tasks.tensor_task import TensorTask

TaskMaker = Callable[[int], Task]

STEPS = 30
LARGEST_OVERLAP = 0.5
"""Share of test rows that may stand in the training split too: one in seven does on Titanic."""


def check_task(task: str | TaskMaker, seed: int = 0) -> None:
    """Check that a task keeps the promises that environments and evaluations build on.

    Args:
        task: a registered name, or what builds an instance from a seed (the class, say).
        seed: of the instance that is looked at.

    Raises:
        TaskError: with every broken promise, one a line, and its remedy.
    """
    make = (lambda own: make_task(task, seed=own)) if isinstance(task, str) else task
    problems: list[str] = []
    for check in CHECKS:
        try:
            problems += check(make, seed)
        except Exception as error:
            # A check that cannot even run is a finding about the task, whatever it raised.
            problems.append(f"{check.__name__}: {type(error).__name__}: {error}")
    if problems:
        raise TaskError("This task is not sound:\n" + "\n".join(f"- {own}" for own in problems))


def same_seed_gives_same_data(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield a problem for each split that a seed does not fix."""
    one, other = make(seed), make(seed)
    for split in SPLITS:
        if one.size(split) <= 0:
            yield f"the {split} split is empty: hold out some data for it."
        elif not _equal(list(one.batches(split, 32)), list(other.batches(split, 32))):
            yield f"the {split} split differs between instances of one seed: draw it from the seed."


def order_comes_from_the_generator(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield problems of shuffling."""
    task = make(seed)
    width = max(1, min(8, task.size("train") // 3))
    before = _global_state()
    first, again, other = (
        list(task.batches("train", width, torch.Generator().manual_seed(own))) for own in (1, 1, 2)
    )
    if not _equal(_global_state(), before):
        yield "batches() draws from a global generator: use the one that it is given."
    if not _equal(first, again):
        yield "batches() differs between equal generators: draw the order from the generator alone."
    if task.size("train") > 8 and _equal(first, other):
        yield "batches() ignores its generator: shuffle with it."
    if len(first) != task.size("train") // width:
        yield "batches() with a generator must drop the incomplete last batch, and only that."
    seen = sum(_length(batch) for batch in task.batches("validation", 7))
    if seen != task.size("validation"):
        yield "batches() without a generator must yield every sample once."


def held_out_data_is_apart(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield a problem if many test rows stand in the training split."""
    task = make(seed)
    if not isinstance(task, TensorTask):
        return
    train = {row.tobytes() for row in task.tensors("train")[0].numpy()}
    test = task.tensors("test")[0].numpy()
    share = sum(row.tobytes() in train for row in test) / len(test)
    if share > LARGEST_OVERLAP:
        yield f"{100 * share:.0f} % of the test rows stand in the training split: separate them."


def loss_can_be_trained(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield problems of loss and gradients."""
    task, model, batches = _start(make, seed)
    loss = task.loss(model, batches[0])
    if loss.ndim != 0 or not math.isfinite(float(loss.detach())):
        yield "loss() must return one finite number: average it over the batch."
        return
    torch.autograd.backward(loss)
    idle = [
        name for name, own in model.named_parameters() if own.requires_grad and own.grad is None
    ]
    if idle:
        yield f"the loss does not depend on {idle[0]}: use or freeze it (requires_grad_(False))."


def training_lowers_the_loss(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield a problem if Adam cannot lower the loss of one batch."""
    task, model, batches = _start(make, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    with IsolatedTorchRandomness(seed, "training").use():
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = task.loss(model, batches[0])
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
    if not min(losses[-5:]) < losses[0]:
        yield f"{STEPS} steps of Adam at 0.001 on one batch do not lower its loss: check the loss."


def metrics_only_look(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield problems of metrics: what they return, and what they change."""
    task, model, _ = _start(make, seed)
    before = copy.deepcopy(model.state_dict()), _global_state()
    for training in (True, False):
        model.train(training)
        metrics = task.metrics(model, "validation")
        if model.training != training:
            yield "metrics() must leave the model in the train/eval mode that it was in."
    if not _equal((model.state_dict(), _global_state()), before):
        yield "metrics() changes weights, buffers or a global generator: evaluate in eval mode."
    if "loss" not in metrics or not math.isfinite(float(metrics["loss"])):
        yield "metrics() must return a finite 'loss'."
    if not 0.0 <= float(metrics.get("accuracy", 0.0)) <= 1.0:
        yield "metrics()['accuracy'] must be between 0 and 1."


def model_comes_from_the_global_generator(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield a problem if equal generators give different weights."""
    weights = [_start(make, seed)[1].state_dict() for _ in range(2)]
    if not _equal(weights[0], weights[1]):
        yield "build_model() differs under equal seeds: initialise from torch's global generator."


def it_travels(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield problems of sending the task to another process, and of its description."""
    task = make(seed)
    try:
        pickle.loads(pickle.dumps(task))  # noqa: S301
    except Exception as error:
        yield f"the task cannot be pickled ({error}): keep no open files or local functions in it."
    try:
        json.dumps(task.describe())
    except TypeError as error:
        yield f"describe() must return plain values: {error}."


CHECKS: tuple[Callable[[TaskMaker, int], Iterator[str]], ...] = (
    same_seed_gives_same_data,
    order_comes_from_the_generator,
    held_out_data_is_apart,
    model_comes_from_the_global_generator,
    loss_can_be_trained,
    training_lowers_the_loss,
    metrics_only_look,
    it_travels,
)


def _start(make: TaskMaker, seed: int) -> tuple[Task, nn.Module, list[Any]]:
    task = make(seed)
    with IsolatedTorchRandomness(seed, "model").use():
        model = task.build_model()
    width = min(task.batch_size, task.size("train"))
    return task, model, list(task.batches("train", width, torch_generator(seed, "batches")))


def _global_state() -> tuple[Any, ...]:
    # Read, never drawn from: the legacy generator is what careless tasks use.
    return torch.get_rng_state(), np.random.get_state(legacy=False)  # noqa: NPY002


def _length(batch: Any) -> int:
    if isinstance(batch, Tensor | np.ndarray):
        return len(batch)
    values = list(batch.values()) if isinstance(batch, dict) else list(batch)
    return _length(values[0])


def _equal(one: Any, other: Any) -> bool:
    """Return whether two nests of tensors, arrays and plain values are equal."""
    if isinstance(one, Tensor | np.ndarray):
        return bool(np.array_equal(np.asarray(one), np.asarray(other)))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_equal(own, its) for own, its in pairs)
    return bool(one == other)
