"""What an update would change, found out on copies of an optimizer and its parameters."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

from lr_env.errors import ModelError
from lr_env.gradients import unscaled
from lr_env.rates import nominal_rate
from lr_env.statistics import DRY_RUN

_LEFT_BEHIND = frozenset({
    "state", "param_groups",
    # A scheduler wraps `step` in the object itself; a gradient scaler leaves word for fused steps.
    "step", "grad_scale", "found_inf",
    "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks", "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks", "_optimizer_load_state_dict_post_hooks",
})  # fmt: skip


def dry_run(optimizer: Optimizer) -> Mapping[int, Tensor]:
    """Return parameters after an update by their pending gradients, by identity.

    It is the last of `DRY_RUN` updates at nominal rates, each from the weights as they are, and
    without weight decay, which moves what the gradient does not. Parameters without a gradient are
    left out. `optimizer` and its parameters stay as they are.

    Raises:
        ModelError: the optimizer cannot make such an update.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    pairs = [(own, _twin(own, optimizer)) for own in parameters if own.grad is not None]
    copies = {id(own): twin for own, twin in pairs}
    try:
        double = _double(optimizer, copies)
        devices = {own.device for own, _ in pairs if own.is_cuda}
        # Some optimizers add noise, from generators that are not ours.
        with torch.random.fork_rng(devices=sorted(devices, key=str)), _no_hooks_of_all():
            for _ in range(DRY_RUN):
                with torch.no_grad():
                    for own, twin in pairs:
                        twin.copy_(own)
                double.step()
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
        raise ModelError(
            f"{type(optimizer).__name__} cannot make its first step on this model ({what}): use "
            "another optimizer."
        ) from error
    return {key: twin.detach() for key, twin in copies.items()}


@contextmanager
def _no_hooks_of_all() -> Iterator[None]:
    """Keep hooks that torch has for the steps of all optimizers from counting copies' steps."""
    places: tuple[Any, ...] = (
        torch_optimizer._global_optimizer_pre_hooks,
        torch_optimizer._global_optimizer_post_hooks,
    )
    kept = [dict(place) for place in places]
    for place in places:
        place.clear()
    try:
        yield
    finally:
        for place, hooks in zip(places, kept, strict=True):
            place.update(hooks)


def _twin(parameter: Tensor, optimizer: Optimizer) -> nn.Parameter:
    twin = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
    if parameter.grad is not None:
        # As it is: some optimizers step from sparse gradients alone.
        twin.grad = unscaled(parameter.grad.detach(), optimizer).clone()
    return twin


def _double(optimizer: Optimizer, copies: Mapping[int, nn.Parameter]) -> Optimizer:
    """Return a copy of `optimizer` on copies of parameters, without its hooks and wrappers."""
    memo: dict[int, Any] = dict(copies)
    double: Optimizer = object.__new__(type(optimizer))
    for name, value in vars(optimizer).items():
        if name not in _LEFT_BEHIND:
            setattr(double, name, _copied(value, memo))
    double._optimizer_step_pre_hooks = OrderedDict()
    double._optimizer_step_post_hooks = OrderedDict()
    double.state = defaultdict(dict)
    for parameter, state in optimizer.state.items():
        if id(parameter) in copies:
            double.state[copies[id(parameter)]] = copy.deepcopy(state, memo)
    double.param_groups = [_group(group, copies) for group in optimizer.param_groups]
    return double


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """Return a copy; the thing itself where it cannot be copied, such as a lock or a logger."""
    if isinstance(value, torch.Generator):
        return value.clone_state()
    try:
        return copy.deepcopy(value, memo)
    except (TypeError, RuntimeError):
        return value


def _group(group: Mapping[str, Any], copies: Mapping[int, nn.Parameter]) -> dict[str, Any]:
    own = {name: copy.copy(value) for name, value in group.items()}
    own["params"] = [copies[id(p)] for p in group["params"] if id(p) in copies]
    own["lr"] = nominal_rate(group)
    if "weight_decay" in own:
        own["weight_decay"] = 0.0
    return own
