"""Whether a task can be stacked: a lane's arithmetic, tried beside the task's own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from lr_env.devices import placed
from lr_env.errors import InvalidArgumentError
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.stack.model import StackedModel
from lr_env.tasks.tensor_task import TensorTask

_SAMPLES = 32
_REMEDY = "ask make_vec for vectorization_mode='sync'."


def check_stackable(make_task: Callable[[int], TensorTask], dtype: torch.dtype) -> None:
    """Raise InvalidArgumentError unless a lane trains as the single environment does.

    All lanes are computed with the loss and the module of seed 0, at their own parameters,
    buffers and samples: whatever else an instance has of its own would be lost on them.

    Raises:
        InvalidArgumentError: vmap cannot run the model, or a lane's loss is another.
    """
    first, other = make_task(0), make_task(1)
    with IsolatedTorchRandomness(0, "model").use():
        template = first.build_model().to(dtype)
    with IsolatedTorchRandomness(1, "model").use():
        module = other.build_model().to(dtype)
    stacked = StackedModel(template, first.loss_from_outputs)
    inputs, targets = placed(other.tensors("train"), torch.device("cpu"), dtype)
    batch = inputs[:_SAMPLES], targets[:_SAMPLES]
    flat = stacked.flatten(module).expand(2, -1).clone()
    buffers = {name: torch.stack([own, own]) for name, own in module.named_buffers()}
    lanes = [torch.stack([own, own]) for own in batch]
    randomness = IsolatedTorchRandomness(0, "probe")
    with randomness.use(), torch.no_grad():
        module.eval()
        own, again = (float(other.loss(module, batch)) for _ in range(2))
        try:
            lane = float(stacked.evaluate(flat, buffers, *lanes)[0])
            stacked.differentiate(flat, buffers, *lanes)
        except RuntimeError as error:
            what = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
            raise InvalidArgumentError(
                f"Task {first.name!r} cannot be stacked, since torch.func.vmap cannot run its "
                f"model ({what}): {_REMEDY}"
            ) from error
    # What draws at random when it is evaluated differs from itself.
    if own == again and not math.isclose(own, lane, rel_tol=1e-3, abs_tol=1e-3):
        raise InvalidArgumentError(
            f"Task {first.name!r} cannot be stacked: the loss of seed 1 is {own:.4g}, and "
            f"{lane:.4g} with the loss function and the model of seed 0, which all lanes share. "
            "Keep what varies from seed to seed in samples, parameters or buffers, or "
            f"{_REMEDY}"
        )
