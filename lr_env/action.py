"""Actions: steps on a log scale, inside a hard envelope around the base schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lr_env.arguments import check_number, plain
from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.schedules import SCHEDULES

ActionMode = Literal["incremental", "residual"]
InitialScale = Literal["zero", "cautious", "calibrated", "matched"]
STARTS: tuple[InitialScale, ...] = ("zero", "cautious", "calibrated", "matched")

DISCRETE_ACTIONS = (-1.0, -0.25, 0.0, 0.25, 1.0)
"""What the five discrete actions mean as continuous ones; number 2 changes nothing."""

CAUTIOUS_RELATIVE_RATE = 3e-4
"""Relative change of a layer's weights by an update of a cautious start."""

CALIBRATED_TRAVEL, CALIBRATED_LEAST = 40.0, 1e-2
"""Relative change of a layer's weights by an update at a calibrated start: the first over the
number of updates, but at least the second and at most one over the number of layers."""

MATCHED_RATE = 0.03
LONG, LEAST_LIMIT = 450.0, 0.02
"""Relative change of a layer's weights by an update at a matched start: the first times samples
over updates, so that what changes in all goes by the samples; at most 1 / L in L layers. In
trainings of more than `LONG` updates that limit falls with their number, to `LEAST_LIMIT`."""

BATCH_NORMALISED_LIMIT = 0.08
"""What an update may change of a layer at a matched start of a network with BatchNorm, at least,
whatever its depth and length: such weights have no scale that errors grow by."""

USUAL_SAMPLES, USUAL_GROWTH = 42.0, 0.6
"""Samples of a training of so many updates, where nothing is known of its data: the first times
the number of updates to the power of the second."""

PRETRAINED_MOST, PRETRAINED_SUM = 3e-3, 5e-2
"""Relative change of a pretrained layer's weights by an update, at a calibrated start and where
the ceiling is 1: the second over the number of layers, but at most the first."""


@dataclass
class Scope:
    """Where the scales of layers start, and how far down and up actions reach, all `[..., L]`."""

    start: Tensor
    lowest: Tensor
    highest: Tensor

    @classmethod
    def unknown(cls, z: Tensor, z_max: float) -> Scope:
        """Return that of layers not looked at yet, in the shape of `z`."""
        walls = torch.full_like(z, z_max)
        return cls(torch.zeros_like(z), -walls, walls)

    def where(self, layers: Tensor, other: Scope) -> Scope:
        """Return this one in `layers`, a mask, and `other` in the others."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Scope(*(torch.where(layers, own, its) for own, its in pairs))

    def take(self, rows: Tensor) -> Scope:
        """Return that of the trainings in `rows`."""
        return Scope(*(own[rows] for own in vars(self).values()))

    def put(self, rows: Tensor, new: Scope) -> None:
        """Replace that of the trainings in `rows`."""
        for name, kept in vars(self).items():
            kept[rows] = getattr(new, name)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the three, by name."""
        return {name: own.clone() for name, own in vars(self).items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Scope:
        """Rebuild a scope from `state_dict`, of copies."""
        return cls(**{name: own.clone() for name, own in state.items()})


@dataclass(frozen=True)
class Envelope:
    """How actions in [-1, 1] move a layer's log2 scale z: lr = base * 2^z, |z| <= z_max.

    Under a ceiling no action raises a rate so far that an update would change more than
    1 / L of a layer's weights, relative to their size: a network's output changes by a product
    over its L layers (deep relative trust, Bernstein et al. 2020). Of a pretrained layer it is
    0.05 / L and 0.003 at most, since what a network lost of its pretraining it seldom learns
    again.

    Attributes:
        z_max: half-width of the envelope, octaves.
        mode: `incremental` adds `max_step * action` to z; `residual` sets z = z_max * action.
        max_step: largest move of one incremental decision, octaves.
        z_init: where z starts: `zero` (the base schedule), or as near as the envelope allows to
            where one update changes the layer's weights by 0.0003 of their size (`cautious`), or
            by 40 / total_steps of it, at least 0.01 and at most 1 / L (`calibrated`), or by
            0.03 * samples / total_steps, at most 1 / L and in long trainings less (`matched`: p
            passes of batches of B have B / p samples for an update); there the limit of networks
            with BatchNorm that nothing is pretrained of is 0.08 at least. Of pretrained layers both
            change as much as under a ceiling of 1.
        ceiling: that many times these limits; None for none.
        schedule: name of the envelope's own schedule, a factor on the base schedule.
        reach: how far actions move a layer from its start, octaves; None: as far as z_max.
        leak: share of its way from the start that z takes back before an incremental action
            moves it: what an action did fades, and a small bias of a policy adds up to an offset
            of bias / leak, not to a drift (a leaky integrator).
        pretrained_reach: the reach of pretrained layers, octaves, whatever the start; 0: no action
            moves them; None: that of the others.
        shared: whether every layer that may move gets the mean of their actions.

    Raises:
        InvalidArgumentError, UnknownNameError: a value out of range.
    """

    z_max: float = 10.0
    mode: ActionMode = "incremental"
    max_step: float = 2.0
    z_init: InitialScale = "cautious"
    ceiling: float | None = 1.0
    schedule: str = "constant"
    reach: float | None = None
    leak: float = 0.0
    pretrained_reach: float | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        for name in ("z_max", "max_step", "ceiling", "reach", "leak", "pretrained_reach"):
            if getattr(self, name) is not None or name in ("z_max", "max_step", "leak"):
                check_number(name, getattr(self, name))
        if not 0.0 < self.z_max <= 20.0:
            raise InvalidArgumentError(f"z_max must be in (0, 20] octaves, not {self.z_max}.")
        if not 0.0 < self.max_step <= 20.0:
            raise InvalidArgumentError(f"max_step must be in (0, 20] octaves, not {self.max_step}.")
        if self.mode not in ("incremental", "residual"):
            raise UnknownNameError("action mode", str(self.mode), ("incremental", "residual"))
        if self.z_init not in STARTS:
            raise UnknownNameError("z_init", str(self.z_init), STARTS)
        if self.reach is not None and not 0.0 < self.reach < math.inf:
            raise InvalidArgumentError(f"reach must be above 0 or None, not {self.reach}.")
        own = self.pretrained_reach
        if own is not None and not 0.0 <= own < math.inf:
            raise InvalidArgumentError(f"pretrained_reach must be at least 0 or None, not {own}.")
        if not isinstance(self.shared, bool):
            raise InvalidArgumentError(f"shared must be true or false, not {self.shared!r}.")
        if not 0.0 <= self.leak < 1.0:
            raise InvalidArgumentError(f"leak must be in [0, 1), not {self.leak}.")
        if self.schedule not in SCHEDULES:
            raise UnknownNameError("schedule", str(self.schedule), SCHEDULES)
        if self.ceiling is not None and not 0.0 < self.ceiling < math.inf:
            raise InvalidArgumentError(f"ceiling must be above 0 or None, not {self.ceiling}.")
        for name, value in vars(self).items():
            object.__setattr__(self, name, plain(value))

    def around(self, z_max: float | None, z_init: InitialScale | None) -> Envelope:
        """Return this envelope with another width and start; its own where None.

        Its own schedule and reach belong to its own start: another start has neither. What holds
        pretrained layers stays.
        """
        z_max = self.z_max if z_max is None else z_max
        if z_init is None or z_init == self.z_init:
            return replace(self, z_max=z_max)
        return replace(self, z_max=z_max, z_init=z_init, schedule="constant", reach=None)

    def move(self, z: Tensor, action: Tensor, scope: Scope) -> Tensor:
        """Return z `[..., L]` after `action` `[..., L]`, within `scope`.

        A zero incremental action keeps it, but for the leak.
        """
        action = action.clamp(-1.0, 1.0)
        if self.shared:
            action = _mean_of_movable(action, scope)
        if self.mode == "incremental":
            target = z + self.leak * (scope.start - z) + self.max_step * action
        else:
            target = self.z_max * action
        return target.maximum(scope.lowest).minimum(scope.highest)

    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor of the envelope's own schedule on the base schedule."""
        return SCHEDULES[self.schedule](step, total_steps)

    def begin(
        self,
        relative_rate: Tensor,
        pretrained: Tensor,
        batch_normalised: Tensor,
        total_steps: Tensor,
        samples: Tensor,
    ) -> Scope:
        """Return where layers start and how far actions reach, all `[..., L]`.

        `relative_rate` is that at z = 0 `[..., L]`, 0 where it is not known: such a layer is held
        at the lowest start of the others (at 0 where there are none). `pretrained` and
        `batch_normalised` are 1 or 0 for each layer `[L]`, `total_steps` the budget `[...]`,
        `samples` how many training samples it meets, each counted once `[...]`, NaN where unknown.
        """
        free = batch_normalised.bool() & ~pretrained.bool().any()
        if self.z_init != "matched":
            free = torch.zeros_like(free)
        limits = self._limits(relative_rate, pretrained, free)
        if self.z_init == "cautious":
            wanted = torch.full_like(relative_rate, CAUTIOUS_RELATIVE_RATE)
        else:
            if self.z_init == "matched":
                spread = _matched_rate(total_steps, samples, free)
            else:
                spread = (CALIBRATED_TRAVEL / total_steps).clamp(min=CALIBRATED_LEAST).unsqueeze(-1)
            spread = spread.minimum(_own_limit(free)).to(relative_rate)
            pretrained_limit = _pretrained_limit(relative_rate.shape[-1])
            wanted = torch.where(pretrained > 0, pretrained_limit, spread.expand_as(relative_rate))
        known = relative_rate > 0
        start = self._scale_for(wanted.minimum(limits), relative_rate)
        if self.z_init == "zero":
            start = torch.zeros_like(start)
        held = start.masked_fill(~known, math.inf).amin(-1, keepdim=True)
        start = torch.where(known, start, torch.where(held.isfinite(), held, 0.0))
        reach = self._reach(pretrained).to(relative_rate)
        lowest = (start - reach).clamp(min=-self.z_max)
        # Where a layer starts, at least: a zero action keeps it.
        highest = self._scale_for(limits, relative_rate).minimum(start + reach).maximum(start)
        return Scope(start, torch.where(known, lowest, start), torch.where(known, highest, start))

    def _reach(self, pretrained: Tensor) -> Tensor:
        """Return how far actions move layers from their starts `[L]`, octaves."""
        others = 2.0 * self.z_max if self.reach is None else self.reach
        own = others if self.pretrained_reach is None else self.pretrained_reach
        return torch.where(pretrained > 0, own, others)

    def _limits(self, relative_rate: Tensor, pretrained: Tensor, free: Tensor) -> Tensor:
        """Return how much of each layer an update may change `[..., L]`."""
        if self.ceiling is None:
            return torch.full_like(relative_rate, math.inf)
        own = torch.where(pretrained > 0, _pretrained_limit(len(free)), _own_limit(free))
        return (self.ceiling * own).to(relative_rate).expand_as(relative_rate)

    def _scale_for(self, wanted: Tensor, relative_rate: Tensor) -> Tensor:
        """Return the z at which an update changes `wanted` of a layer's weights."""
        return (wanted / relative_rate.clamp(min=1e-30)).log2().clamp(-self.z_max, self.z_max)


def _mean_of_movable(action: Tensor, scope: Scope) -> Tensor:
    """Return the mean action of the layers that may move, for every layer `[..., L]`."""
    movable = (scope.highest > scope.lowest).to(action)
    count = movable.sum(-1, keepdim=True).clamp(min=1.0)
    return ((action * movable).sum(-1, keepdim=True) / count).expand_as(action)


def _matched_rate(total_steps: Tensor, samples: Tensor, free: Tensor) -> Tensor:
    """Return the relative change of weights that an update is to begin with `[..., L]`."""
    usual = USUAL_SAMPLES * total_steps**USUAL_GROWTH
    for_each = torch.where(samples.isnan(), usual, samples) / total_steps
    fallen = (LONG / (len(free) * total_steps)).clamp(min=LEAST_LIMIT).unsqueeze(-1)
    limit = torch.where(free, BATCH_NORMALISED_LIMIT, fallen).maximum(fallen)
    return (MATCHED_RATE * for_each).unsqueeze(-1).minimum(limit)


def _own_limit(free: Tensor) -> Tensor:
    """Return how much an update may change of layers that are not pretrained `[L]`."""
    share = 1.0 / len(free)
    return torch.where(free, max(share, BATCH_NORMALISED_LIMIT), share)


def _pretrained_limit(layers: int) -> float:
    return min(PRETRAINED_MOST, PRETRAINED_SUM / layers)


def decode_discrete(action: Tensor) -> Tensor:
    """Return the continuous meaning of discrete actions 0-4, any shape."""
    table = torch.tensor(DISCRETE_ACTIONS, dtype=torch.float64, device=action.device)
    return table[action.long()]


def read_action(action: NDArray[Any], layers: int, discrete: bool) -> Tensor:
    """Return what `action` `[L]`, continuous or discrete, means as a continuous one.

    Raises:
        InvalidArgumentError: another shape, numbers that are not finite, or no such discrete
            action.
    """
    values = torch.as_tensor(np.asarray(action))
    if values.shape != (layers,):
        raise InvalidArgumentError(
            f"An action holds one entry for each of the {layers} layers, not shape "
            f"{tuple(values.shape)}."
        )
    if not torch.isfinite(values).all():
        raise InvalidArgumentError("An action holds finite numbers: check the agent's outputs.")
    if not discrete:
        return values
    last = len(DISCRETE_ACTIONS) - 1
    if values.is_floating_point() or not ((values >= 0) & (values <= last)).all():
        raise InvalidArgumentError(f"A discrete action holds integers from 0 to {last}.")
    return decode_discrete(values)
