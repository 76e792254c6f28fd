"""Policies that tell control from luck: a frozen policy with something of it taken away."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lr_env.action import Envelope, Scope
from lr_env.policy import FrozenPolicy
from lr_env.randomness import numpy_generator, torch_generator


class Control(FrozenPolicy):
    """A policy's weights, start, schedule and envelope, and other actions; made for one trial.

    Layers act apart in it, whether they share an action in the policy or not.

    Args:
        policy: what it is a control of.
        seed: of what it draws.

    Attributes:
        within: the kind of envelope that it acts in.
    """

    within: ClassVar[type[Envelope]] = Envelope

    def __init__(self, policy: FrozenPolicy, seed: int = 0) -> None:
        super().__init__(policy.weights(), policy.card)
        self.envelope = self.within(**{**asdict(self.envelope), "shared": False})
        self._seed = seed


class LayerByLayer(Control):
    """Gives every layer the action that the policy has for it; of one that shares them."""


class NoActions(Control):
    """Changes nothing: what is left is the start and the schedule."""

    def act(self, observation: Tensor) -> Tensor:
        """Return zeros."""
        return observation.new_zeros(observation.shape[:-1])


class OneAction(Control):
    """Gives all layers of a training the mean of the policy's actions."""

    def act(self, observation: Tensor) -> Tensor:
        """Return that mean for every layer."""
        actions = super().act(observation)
        return actions.mean(-1, keepdim=True).expand_as(actions)


@dataclass(frozen=True)
class _OneStart(Envelope):
    def begin(self, *known: Tensor, **named: Tensor) -> Scope:
        """Return the mean over layers of where they start, and of how far actions reach."""
        own = super().begin(*known, **named)
        return Scope(
            *(of.mean(-1, keepdim=True).expand_as(of).clone() for of in vars(own).values())
        )


class OneRate(OneAction):
    """Gives all layers one rate: the (geometric) mean of their starts, then the mean action."""

    within = _OneStart


@dataclass(frozen=True)
class _HalfStart(Envelope):
    def begin(self, *known: Tensor, **named: Tensor) -> Scope:
        """Return starts an octave below, as far down as actions reach."""
        own = super().begin(*known, **named)
        return Scope((own.start - 1.0).maximum(own.lowest), own.lowest, own.highest)


class HalfStart(NoActions):
    """Changes nothing, from half the start of every layer that actions can move."""

    within = _HalfStart


class Shuffled(Control):
    """Lets every layer act on what another one sees: layers rotated, by training and for good."""

    def __init__(self, policy: FrozenPolicy, seed: int = 0) -> None:
        super().__init__(policy, seed)
        self._sources: Tensor | None = None

    def act(self, observation: Tensor) -> Tensor:
        """Return the policy's actions on the rotated observations."""
        *trainings, layers, _ = observation.shape
        if self._sources is None:
            random = numpy_generator(self._seed, "shuffled")
            turns = torch.as_tensor(random.integers(min(1, layers - 1), layers, trainings))
            self._sources = (torch.arange(layers) + turns.unsqueeze(-1)) % layers
        sources = self._sources.to(observation.device).unsqueeze(-1)
        return super().act(observation.gather(-2, sources.expand_as(observation)))


class RandomActions(Control):
    """Draws its actions uniformly."""

    def __init__(self, policy: FrozenPolicy, seed: int = 0) -> None:
        super().__init__(policy, seed)
        self._generator = torch_generator(seed, "random pilot")

    def act(self, observation: Tensor) -> Tensor:
        """Return numbers in [-1, 1), whatever is seen."""
        drawn = torch.rand(observation.shape[:-1], generator=self._generator)
        return (2.0 * drawn - 1.0).to(observation)
