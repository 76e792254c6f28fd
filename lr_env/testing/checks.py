"""What `check_task` checks: each check yields a line for every problem, with its remedy."""

from __future__ import annotations

import copy
import json
import math
import pickle
import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import nn

from lr_env.randomness import IsolatedTorchRandomness, torch_generator
from lr_env.tasks.base import SPLITS, Task
from lr_env.testing.nests import equal, equal_passes, length, sample_hashes

TaskMaker = Callable[[int], Task]
Check = Callable[[TaskMaker, int], Iterator[str]]

STEPS = 30
LARGEST_OVERLAP = 0.1
"""Share of test samples in the training split beyond what the data's own duplicates explain.

On Titanic every seventh passenger equals one of the training split; that share differs by up to
0.075 from the share of duplicates inside the training split (60 seeds).
"""

_LOOKED = 100


def same_seed_gives_same_data(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield a problem for each split that is empty or that a seed does not fix."""
    one, other = make(seed), make(seed)
    for split in SPLITS:
        if one.size(split) <= 0:
            yield f"the {split} split is empty: hold out some data for it."
        elif not equal_passes(one.batches(split, 32), other.batches(split, 32)):
            yield f"the {split} split differs between instances of one seed: draw it from the seed."


def order_comes_from_the_generator(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield problems of shuffled passes."""
    task = make(seed)
    size, width = task.size("train"), max(1, min(8, task.size("train") // 3))
    before = _global_states()
    first, again, other = (list(islice(_pass(task, width, own), _LOOKED)) for own in (1, 1, 2))
    if not equal(_global_states(), before):
        yield "batches() draws from a global generator: use the one that it is given."
    if not equal(first, again):
        yield "batches() differs between equal generators: draw the order from the generator alone."
    if size > 8 and equal(first, other):
        yield "batches() ignores its generator: shuffle with it."


def passes_are_whole(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield problems of the number of samples in a pass."""
    task = make(seed)
    size = task.size("train")
    # A width that leaves a remainder, wherever the split is large enough to have one.
    width = next((own for own in range(min(8, size), 1, -1) if size % own), 1)
    lengths = [length(batch) for batch in _pass(task, width, 1)]
    if lengths != [width] * (size // width):
        yield (
            "batches() with a generator has other lengths: leave out a last batch that is shorter "
            "than batch_size, and nothing else."
        )
    if [length(batch) for batch in _pass(task, size + 1, 1)] != [size]:
        yield "batches() with a generator loses a split smaller than a batch: yield it whole."
    for split in SPLITS:
        if sum(length(batch) for batch in task.batches(split, 7)) != task.size(split):
            yield f"batches() without a generator is no pass over {split}: yield every sample once."


def held_out_data_is_apart(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield a problem if more test samples stand in the training split than chance puts there."""
    task = make(seed)
    # One by one: in a batch, a sample is padded to the length of the others.
    train, test = (sample_hashes(task.batches(split, 1)) for split in ("train", "test"))
    counts = Counter(train)
    shared = fmean(own in counts for own in test)
    duplicates = fmean(counts[own] > 1 for own in train)
    if shared - duplicates > LARGEST_OVERLAP:
        yield f"{shared:.0%} of the test samples stand in the training split: separate them."


def model_comes_from_the_global_generator(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield a problem if equal generators give different weights."""
    one, other = (_model(make(seed), seed).state_dict() for _ in range(2))
    if not equal(dict(one), dict(other)):
        yield "build_model() differs under equal seeds: initialise from torch's global generator."


def model_is_fresh(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield a problem if two models share a parameter or buffer."""
    task = make(seed)
    one, other = _model(task, seed), _model(task, seed)
    places = {own.data_ptr() for own in one.state_dict().values() if own.numel()}
    if any(own.data_ptr() in places for own in other.state_dict().values() if own.numel()):
        yield "build_model() returns weights that an earlier model has: build all of them anew."


def loss_can_be_trained(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield problems of loss and gradients."""
    task = make(seed)
    model, batch = _model(task, seed), _first_batch(task, seed)
    trainable = {name: own for name, own in model.named_parameters() if own.requires_grad}
    if not trainable:
        yield "the model has no trainable parameter: set requires_grad on what is to learn."
        return
    loss = task.loss(model, batch)
    if loss.ndim != 0 or not math.isfinite(float(loss.detach())):
        yield "loss() is not one finite number: average it over the batch."
        return
    if not loss.requires_grad:
        yield "loss() is cut off from the model: compute it without detach(), item() or no_grad()."
        return
    torch.autograd.backward(loss)
    idle = [name for name, own in trainable.items() if own.grad is None]
    if idle:
        yield (
            f"the loss does not depend on {', '.join(idle)}: use or freeze them "
            f"(requires_grad_(False))."
        )


def training_lowers_the_loss(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield a problem if Adam cannot lower the loss of one batch."""
    task = make(seed)
    model, batch = _model(task, seed), _first_batch(task, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses, dropout = [], IsolatedTorchRandomness(seed, "dropout")
    for _ in range(STEPS):
        optimizer.zero_grad()
        with dropout.use():
            loss = task.loss(model, batch).mean()
        if not loss.requires_grad:  # what loss_can_be_trained is about
            return
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    if not fmean(losses[-3:]) < losses[0]:
        yield f"{STEPS} steps of Adam at 0.001 on one batch do not lower its loss: check its sign."


def metrics_only_look(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield problems of metrics: what they return, and what they change."""
    task = make(seed)
    model = _model(task, seed)
    weights, generators = copy.deepcopy(dict(model.state_dict())), _global_states()
    for split, training in zip(SPLITS, (True, False, True), strict=True):
        model.train(training)
        modes = [own.training for own in model.modules()]
        metrics = task.metrics(model, split)
        if [own.training for own in model.modules()] != modes:
            yield "metrics() leaves the model in another train/eval mode: put the old one back."
        if not math.isfinite(float(metrics.get("loss", math.nan))):
            yield "metrics() has no finite 'loss': return the mean loss under that name."
        if not 0.0 <= float(metrics.get("accuracy", 0.0)) <= 1.0:
            yield "metrics()['accuracy'] is not between 0 and 1: return a share, not per cent."
    if not equal(dict(model.state_dict()), weights):
        yield "metrics() changes weights or buffers: evaluate in eval mode, without updates."
    if not equal(_global_states(), generators):
        yield "metrics() draws from a global generator: evaluate in eval mode, without sampling."


def it_travels(make: TaskMaker, seed: int) -> Iterator[str]:
    """Yield problems of sending the task to another process, and of its description."""
    task = make(seed)
    try:
        copied = pickle.loads(pickle.dumps(task))  # noqa: S301
    except Exception as error:
        yield f"the task cannot be pickled ({error}): keep no open files or local functions in it."
    else:
        if not equal_passes(task.batches("test", 32), copied.batches("test", 32)):
            yield "a pickled task holds other data: put all that it needs into its state."
    try:
        json.dumps(task.describe())
    except (TypeError, ValueError) as error:
        yield f"describe() is not made of plain values ({error}): use str, int, float, list, dict."


CHECKS: tuple[Check, ...] = (
    same_seed_gives_same_data,
    order_comes_from_the_generator,
    passes_are_whole,
    held_out_data_is_apart,
    model_comes_from_the_global_generator,
    model_is_fresh,
    loss_can_be_trained,
    training_lowers_the_loss,
    metrics_only_look,
    it_travels,
)


def _model(task: Task, seed: int) -> nn.Module:
    with IsolatedTorchRandomness(seed, "model").use():
        return task.build_model().train()


def _first_batch(task: Task, seed: int) -> Any:
    return next(iter(task.batches("train", task.batch_size, torch_generator(seed, "batches"))))


def _pass(task: Task, width: int, number: int) -> Iterator[Any]:
    return iter(task.batches("train", width, torch.Generator().manual_seed(number)))


def _global_states() -> tuple[Any, ...]:
    # Read, never drawn from: the legacy generator is what careless tasks use.
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002
    return torch.get_rng_state(), legacy, random.getstate()
