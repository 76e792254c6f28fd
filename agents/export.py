"""From a Stable-Baselines3 agent to the frozen policy's weights, checked for parity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from agents.exploration import UNCHANGED, CautiousDQNPolicy
from lr_env.action import Envelope, decode_discrete
from lr_env.errors import PolicyError
from lr_env.observation import BOUND, FEATURES
from lr_env.policy import FrozenPolicy, make_card
from lr_env.randomness import torch_generator

TOLERANCE = 1e-5


def freeze(
    model: BaseAlgorithm,
    name: str,
    envelope: Envelope,
    about: Mapping[str, Any] | None = None,
    seen: Tensor | None = None,
) -> FrozenPolicy:
    """Return the deterministic policy of PPO or DQN, a perceptron with tanh, as a frozen one.

    `envelope` is that of the environment that it learned in; `about` is what else its card is to
    say. Features that the agent does not see (0 in `seen` `[F]`) have no weight in it.

    Raises:
        PolicyError: it acts differently from the agent's `predict` on random observations.
    """
    discrete = isinstance(model, DQN)
    card = make_card(
        name=name,
        action_space="discrete" if discrete else "box",
        activation="tanh",
        envelope=envelope,
        **(about or {}),
    )
    seen = torch.ones(len(FEATURES)) if seen is None else seen
    weights = _weights(model)
    weights["0.weight"] *= seen
    policy = FrozenPolicy(weights, card)
    _check_parity(model, policy, seen)
    return policy


def _weights(model: BaseAlgorithm) -> dict[str, Tensor]:
    policy = model.policy
    if isinstance(policy, ActorCriticPolicy):
        modules = [*policy.mlp_extractor.policy_net.modules(), policy.action_net]
    else:
        modules = list(policy.q_net.q_net.modules())  # type: ignore[union-attr]
    linear = [module for module in modules if isinstance(module, nn.Linear)]
    weights = {
        f"{index}.{part}": getattr(module, part).detach().clone()
        for index, module in enumerate(linear)
        for part in ("weight", "bias")
    }
    if isinstance(policy, CautiousDQNPolicy):
        weights[f"{len(linear) - 1}.bias"][UNCHANGED] += policy.margin
    return weights


def _check_parity(model: BaseAlgorithm, policy: FrozenPolicy, seen: Tensor) -> None:
    generator = torch_generator(0, "parity")
    rows = BOUND * (2.0 * torch.rand(256, len(FEATURES), generator=generator) - 1.0)
    theirs, _ = model.policy.predict((rows * seen).numpy(), deterministic=True)
    expected = torch.from_numpy(np.asarray(theirs).reshape(-1))
    if policy.discrete:
        expected = decode_discrete(expected)
    gap = float((policy.act(rows) - expected).abs().max())
    if not gap <= TOLERANCE:
        raise PolicyError(
            f"The exported policy differs from the agent's by {gap:.2g} on actions: frozen "
            "policies are perceptrons with tanh (policy_kwargs={'activation_fn': torch.nn.Tanh})."
        )
