"""A rule for actions, fitted to what branches show, and the actor that begins with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents.branches import MOMENTS, PARTING, Branches
from agents.plateau import listen
from lr_env.errors import InvalidArgumentError
from lr_env.observation import FEATURES

DEPTH = FEATURES.index("depth")
PENALTY = 1000.0
"""Of squared weights, standardised, in the units of so many stacks' squared errors."""
NEWTON_STEP = 60.0
"""Octaves to go for each nat that an octave promises, before they are bounded."""
MOST_OCTAVES = 2.0
MOST_WORTH = 1.0
"""Nats of an octave of all layers that one layer's worth is taken for at most."""
LINEAR = 0.1
"""Share of a unit's range that is used where it is to be linear."""
SHARPNESS, EDGE = 100.0, 0.015
"""Of the units that tell the first and the last layer by their depth, 0 and 1."""
UNIT, FIRST, LAST = 1, 2, 3
"""Units that carry the rule; the one before is the plateau's."""


@dataclass(frozen=True)
class Rule:
    """Octaves from its start for a layer: linear in what is seen of it.

    Attributes:
        weight: of every feature `[F]`.
        first, last: added for the first layer and for the last one.
        bias: added for every layer.
    """

    weight: Tensor
    first: float
    last: float
    bias: float

    def octaves(self, observation: Tensor) -> Tensor:
        """Return the octaves `[...]` for rows of observations `[..., F]`."""
        depth = observation[..., DEPTH]
        own = self.first * (depth == 0.0) + self.last * (depth == 1.0)
        linear = observation @ self.weight + own + self.bias
        return MOST_OCTAVES * (linear / MOST_OCTAVES).tanh()


def fit_rule(branches: Sequence[Branches], seen: Tensor) -> Rule:
    """Fit a rule by ridge regression (Hoerl and Kennard 1970) to what an octave is worth.

    Every stack has the same weight, as have its instances, and the layers of each; layers that
    actions do not move have none. The gain of a step is first-order, so that a rule which predicts
    it is climbed by going a multiple of it (`NEWTON_STEP`).

    Args:
        branches: what is known; one stack at least.
        seen: 1 for every feature that the agent sees, 0 for the others `[F]`.
    """
    rows = [_rows(own, seen) for own in branches]
    weights = torch.cat([weight for _, _, weight in rows])
    features = torch.cat([row for row, _, _ in rows])
    known = weights > 0
    mean, deviation = features[known].mean(0), features[known].std(0, correction=0)
    moves = deviation > 1e-6
    standard = torch.where(moves, (features - mean) / (deviation + 1e-3), 0.0)
    standard = torch.cat([standard, torch.ones(len(standard), 1, dtype=torch.float64)], 1)
    worth = torch.cat([own for _, own, _ in rows])
    square = standard.T @ (standard * weights.unsqueeze(1))
    penalty = PENALTY * torch.eye(len(square), dtype=torch.float64)
    found = NEWTON_STEP * torch.linalg.solve(square + penalty, standard.T @ (worth * weights))
    weight = torch.where(moves, found[:-1] / (deviation + 1e-3), 0.0)
    bias = found[-1] - weight @ mean
    *_, first, last = weight.tolist()
    return Rule(weight[: len(FEATURES)].float(), first, last, float(bias))


def _rows(branches: Branches, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return features `[R, F + 2]`, worth `[R]` and weight `[R]` of all its rows, float64.

    The last two features say which layer is the first one and which the last.
    """
    observation = branches.observation.double()
    depth = observation[..., DEPTH, None]
    ends = torch.cat([(depth == 0.0).double(), (depth == 1.0).double()], -1)
    features = torch.cat([observation * seen, ends], -1)
    moments, instances, layers = features.shape[:-1]
    late = torch.tensor([moment >= PARTING for moment in MOMENTS])
    free = branches.movable.sum()
    by_moment = branches.worth[:, late.long()].transpose(0, 1).double()
    # In units of a move of all layers, whose squares are counted by their mean.
    worth = (by_moment * free).clamp(-MOST_WORTH, MOST_WORTH)
    share = torch.where(late, 1.0 / late.sum(), 1.0 / (~late).sum()).double()
    weight = share.view(-1, 1, 1) * branches.movable.double() / (instances * free.clamp(min=1.0))
    weight = weight.expand(moments, instances, layers)
    return features.flatten(0, 2), worth.flatten(), weight.flatten()


def check_room(hidden: Sequence[int]) -> None:
    """Raise InvalidArgumentError where hidden layers of these widths cannot carry a rule."""
    if len(hidden) < 2 or min(hidden) <= LAST:
        raise InvalidArgumentError(
            f"Branches need a policy of two hidden layers of {LAST + 1} units at least: change "
            "`hidden`, or grow no `branches`."
        )


@torch.no_grad()
def carry(actor: nn.Sequential, rule: Rule, leak: float) -> None:
    """Make `actor`, of layers and tanh, hold layers where `rule` says, beside what it does already.

    Under a leak, an action of leak * octaves comes to so many octaves. A few units of the hidden
    layers carry the rule, as one does the plateau's; all others keep their weights. `check_room`
    says whether there are so many.
    """
    *hidden, head = (own for own in actor.modules() if isinstance(own, nn.Linear))
    first, second, *others = hidden
    first.weight[UNIT], first.bias[UNIT] = LINEAR * rule.weight, LINEAR * rule.bias
    edge = SHARPNESS * EDGE
    listen(first, FIRST, DEPTH, -SHARPNESS, edge)
    listen(first, LAST, DEPTH, SHARPNESS, edge - SHARPNESS)
    # From -1 to this: what the unit is in all other layers, and in its own.
    span = 1.0 + math.tanh(edge)
    second.weight[UNIT] = 0.0
    second.weight[UNIT, UNIT] = 1.0 / LINEAR
    second.weight[UNIT, FIRST], second.weight[UNIT, LAST] = rule.first / span, rule.last / span
    second.bias[UNIT] = (rule.first + rule.last) / span
    second.weight[UNIT] /= MOST_OCTAVES
    second.bias[UNIT] /= MOST_OCTAVES
    for layer in others:
        listen(layer, UNIT, UNIT, LINEAR, 0.0)
    scale = LINEAR ** len(others)
    head.weight[0, UNIT] = leak * MOST_OCTAVES / scale
