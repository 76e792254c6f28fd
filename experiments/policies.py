"""The policies of an evaluation: what of them decides a result, and that no other is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from experiments.records import digest
from lr_env.errors import PolicyError
from lr_env.layers import group_layers
from lr_env.policy import FrozenPolicy

_BEHAVIOUR = (
    "weights_sha256", "action_space", "activation", "action_mode", "z_max", "max_step", "z_init",
    "ceiling", "schedule", "reach", "leak",
)  # fmt: skip
_BEHAVIOUR_WHERE_PRETRAINED = ("pretrained_reach",)


def behaviour(policy: FrozenPolicy | None, pretrained: bool, shares: bool) -> dict[str, Any]:
    """Return what a policy's card says of how it acts; the rest of it is history.

    `pretrained`: whether the task begins with pretrained weights; what it does to those is no part
    of a result without any. `shares`: whether there are several layers to share an action; that
    they do is no part of a result otherwise.
    """
    card = policy.card if policy is not None else {}
    names = (*_BEHAVIOUR, *(_BEHAVIOUR_WHERE_PRETRAINED if pretrained else ()))
    known = {name: card[name] for name in names if name in card}
    # Cards of before there was such a thing do not say so.
    return {**known, "shared": True} if shares and card.get("shared") else known


def shares_actions(
    policy: FrozenPolicy, model: nn.Module, is_pretrained: Callable[[str], bool]
) -> bool:
    """Return whether `policy` gives one action to more than one layer of `model`."""
    layers = group_layers(model, is_pretrained)
    held = policy.envelope.pretrained_reach == 0.0
    moved = [layer for layer in layers if not (held and layer.pretrained)]
    return policy.envelope.shared and len(moved) > 1


def policy_digest(policy: FrozenPolicy) -> str:
    """Return the hash of all that a policy does, for `load_meant`."""
    return digest(behaviour(policy, pretrained=True, shares=True))


def load_meant(given: str, wanted: str | None) -> FrozenPolicy:
    """Return the policy `given`, a name or a folder; its `policy_digest` is to be `wanted`, if any.

    Raises:
        PolicyError: it is another one by now.
    """
    policy = FrozenPolicy.load(given)
    if wanted not in (None, policy_digest(policy)):
        raise PolicyError(
            f"Policy {given!r} was replaced while it was evaluated: finished runs are of the "
            "old one; run the same command again to evaluate the new one."
        )
    return policy
