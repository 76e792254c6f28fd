"""PPO's actor, fitted to the actions that branches show to be best."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from agents.branches import ACTIONS, Branches
from lr_env.randomness import torch_generator

EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 40, 64, 1e-3, 1e-2
MOST_GAINED = 1.0
"""Nats that one instance counts at most, for or against: a divergence is no hundred others."""
EFFORT = 0.1
"""Price of the mean square action: where nothing is to be gained, nothing is done."""


def fit_actor(
    policy: ActorCriticPolicy, branches: Sequence[Branches], seen: Tensor, seed: int
) -> list[float]:
    """Fit the actor to what each action comes to, and return its mean gain epoch by epoch.

    Every action was tried from every parting, so that the gain of any between them is known by
    linear interpolation, and is climbed as it is: no sampling, no critic (a bandit with full
    information). The mean of a training's layers is what is judged, since all of them had the same.

    Args:
        policy: whose actor is fitted, in place.
        branches: what is known.
        seen: 1 for every feature that the agent sees, 0 for the others `[F]`.
        seed: of the order of mini-batches.
    """
    observation, layers = _padded([own.observation * seen for own in branches])
    outcome = torch.cat([own.outcome for own in branches])
    gain = (outcome - outcome[:, [ACTIONS.index(0.0)]]).clamp(-MOST_GAINED, MOST_GAINED)
    actor = nn.Sequential(policy.mlp_extractor.policy_net, policy.action_net)
    optimizer = torch.optim.AdamW(actor.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    generator = torch_generator(seed, "actor fit")
    course = []
    for _ in range(EPOCHS):
        total = 0.0
        order = torch.randperm(len(gain), generator=generator)
        for rows in torch.split(order, BATCH):
            action = actor(observation[rows]).squeeze(-1) * layers[rows]
            mean = action.sum(1) / layers[rows].sum(1)
            gained = interpolated(gain[rows], mean)
            loss = EFFORT * mean.square().mean() - gained.mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += float(gained.detach().sum())
        course.append(total / len(gain))
    return course


def interpolated(gain: Tensor, action: Tensor) -> Tensor:
    """Return what `action` `[B]` gains, between what those of `ACTIONS` gain `[B, K]`."""
    known = torch.tensor(ACTIONS)
    place = action.clamp(ACTIONS[0], ACTIONS[-1])
    left = (torch.bucketize(place.detach(), known) - 1).clamp(0, len(ACTIONS) - 2)
    share = (place - known[left]) / (known[left + 1] - known[left])
    low = gain.gather(1, left.unsqueeze(1)).squeeze(1)
    high = gain.gather(1, left.unsqueeze(1) + 1).squeeze(1)
    return low + share * (high - low)


def _padded(observations: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return observations `[B, L, F]` of all instances, and 1 for the layers that there are."""
    rows = [row for own in observations for row in own]
    layers = [torch.ones(len(row)) for row in rows]
    return (
        nn.utils.rnn.pad_sequence(rows, batch_first=True),
        nn.utils.rnn.pad_sequence(layers, batch_first=True),
    )
