"""Several frozen policies as one, whose outputs are the mean of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lr_env.errors import PolicyError
from lr_env.policy import FrozenPolicy

ALIKE = ("action_space", "activation")


def merge(policies: Sequence[FrozenPolicy], card: Mapping[str, Any]) -> FrozenPolicy:
    """Return a perceptron that holds `policies` side by side and gives the mean of their outputs.

    Nothing goes from one to another; the mean is taken before a continuous action is clipped, or
    the best discrete one is chosen.

    Raises:
        PolicyError: they have other numbers of layers, kinds of action or activations.
    """
    first = policies[0]
    weights = [policy.weights() for policy in policies]
    count = len(weights[0])
    for policy, own in zip(policies, weights, strict=True):
        if len(own) != count or any(policy.card[key] != first.card[key] for key in ALIKE):
            raise PolicyError(
                "Policies that are merged have the same number of layers, kind of action and "
                "activation: meta-train them by the same settings."
            )
    last = count // 2 - 1
    merged: dict[str, Tensor] = {}
    for index in range(last + 1):
        matrices = [own[f"{index}.weight"] for own in weights]
        biases = [own[f"{index}.bias"] for own in weights]
        if index == last:
            merged[f"{index}.weight"] = torch.cat(matrices, 1) / len(policies)
            merged[f"{index}.bias"] = torch.stack(biases).mean(0)
            continue
        # All of them see the observation, and from then on each its own units.
        merged[f"{index}.weight"] = (
            torch.cat(matrices) if index == 0 else torch.block_diag(*matrices)  # type: ignore[no-untyped-call]
        )
        merged[f"{index}.bias"] = torch.cat(biases)
    return FrozenPolicy(merged, card)
