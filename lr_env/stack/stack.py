"""A stack: N trainings of one architecture that step together, each at its own pace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from lr_env import devices
from lr_env.action import Scope
from lr_env.observation import Memory
from lr_env.reward import potential, reward
from lr_env.stack.figures import Figures, Outcome
from lr_env.stack.observer import Observer
from lr_env.stack.settings import StackSettings
from lr_env.stack.trainings import TaskFactory, Trainings


class Stack:
    """N trainings together; a lane that ends begins a fresh instance in the same step.

    Lane i, seeded with s + i, draws what the single environment seeded so draws, and is the
    same training. What a stack is given and what it tells is on the CPU, whatever device its
    trainings compute on: that is waited for a few times a decision, and not at an update.

    Args:
        task: builds an instance from a seed; architecture and shapes must not depend on it.
        num: number of lanes N.
        settings: what they share.

    Raises:
        LrEnvError: one of its subclasses, for settings that cannot be used.
    """

    def __init__(self, task: TaskFactory, num: int, settings: StackSettings) -> None:
        self.num = num
        self.settings = settings
        self._trainings = Trainings(task, num, settings)
        self._observer = Observer(self._trainings, settings.envelope)
        self.layers = self._trainings.layers
        self._z = self._trainings.raw.new_zeros((num, len(self.layers)))
        self._scope = Scope.unknown(self._z, settings.envelope.z_max)

    @property
    def figures(self) -> Figures:
        """What there is to tell of the lanes now."""
        return Figures(**{field.name: getattr(self, field.name) for field in fields(Figures)})

    @property
    def observation(self) -> Tensor:
        """The latest observation of every lane `[N, L, F]`."""
        return self._observer.latest

    @property
    def potential(self) -> Tensor:
        """The potential of every lane `[N]`, float64."""
        return potential(
            self._trainings.validation_loss.double(), self._trainings.initial_loss.double()
        )

    @property
    def scales(self) -> Tensor:
        """The log2 scale of every layer `[N, L]`."""
        return self._z.to("cpu", copy=True)

    @property
    def learning_rates(self) -> Tensor:
        """The rate of every layer's next update `[N, L]`."""
        rates = self._trainings.lanes.rates(self._trainings.loss)
        return rates.unsqueeze(1) * devices.on_host(self._z.exp2())

    @property
    def steps(self) -> Tensor:
        """Updates made by every lane `[N]`."""
        return self._trainings.lanes.step.clone()

    @property
    def total_steps(self) -> Tensor:
        """Updates that every lane will make `[N]`."""
        return self._trainings.lanes.total_steps.clone()

    @property
    def base_lr(self) -> Tensor:
        """The nominal base rate of every lane `[N]`, float64."""
        return self._trainings.lanes.base_lr.clone()

    @property
    def train_loss(self) -> Tensor:
        """The mean training loss of every lane since its last decision, as last observed `[N]`."""
        return self._trainings.loss.clone()

    @property
    def validation_loss(self) -> Tensor:
        """The latest validation loss of every lane `[N]`; NaN where it diverged."""
        return self._trainings.validation_loss.clone()

    @property
    def initial_loss(self) -> Tensor:
        """The validation loss that every lane began with `[N]`."""
        return self._trainings.initial_loss.clone()

    def whole_validation_loss(self) -> Tensor:
        """Return every lane's loss on its whole validation split `[N]`, in eval mode."""
        return self._trainings.whole_validation_loss()

    def reset(self, seed: int | None = None) -> Tensor:
        """Begin all trainings anew, lane i seeded with `seed + i`; return `[N, L, F]`."""
        seeds = None if seed is None else [seed + lane for lane in range(self.num)]
        return self.begin(torch.ones(self.num, dtype=torch.bool), seeds)

    def begin(self, mask: Tensor, seeds: Sequence[int | None] | None = None) -> Tensor:
        """Begin fresh trainings in the lanes of `mask` `[N]`; return observations `[N, L, F]`.

        `seeds [N]` seed those lanes first; where None, a lane goes on with its own generator.
        The other lanes stay as they are, to the last bit. They go on so, too, but for dropout:
        its masks come from one stream for all lanes.
        """
        rows = mask.nonzero().squeeze(1)
        if not len(rows):
            # One of several processes may have no part in a reset; no model runs on no lanes.
            return self.observation
        for lane, seed in enumerate(seeds or ()):
            if mask[lane] and seed is not None:
                self._trainings.lanes.seed(lane, seed)
        self._trainings.begin(rows)
        self._observer.forget(rows)
        return self._observer.look(rows, self._z, self._scope)

    def step(self, action: Tensor) -> Outcome:
        """Take one decision `[N, L]` in every lane; those that end begin anew at once."""
        outcome = self.advance(action)
        if not outcome.terminated.any():
            return outcome
        return replace(outcome, observation=self.begin(outcome.terminated))

    def advance(self, action: Tensor, active: Tensor | None = None) -> Outcome:
        """Take one decision `[N, L]` in the lanes of `active` `[N]` (all if None); begin none.

        Where a lane is not active its reward is 0, and it stays as it is.
        """
        if active is None:
            active = torch.ones(self.num, dtype=torch.bool)
        own, before = self._trainings, self.potential
        moved = self.settings.envelope.move(self._z, action.to(self._z), self._scope)
        self._z = torch.where(active.to(moved.device).unsqueeze(1), moved, self._z)
        diverged = own.advance(self._z.exp2(), active)
        after = self.potential
        seen = (active & ~diverged).nonzero().squeeze(1)
        observation = self._observer.look(seen, self._z, self._scope)
        ended = diverged | (active & (own.lanes.step >= own.lanes.total_steps))
        gained = reward(before, after, self.settings.gamma, self.settings.reward_kind)
        gained = gained.masked_fill(~active, 0.0)
        return Outcome(observation, gained, ended, observation, after, diverged)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs, as plain values and tensors on the CPU.

        Samples are left out: they come back from the instances' seeds.
        """
        state = self._trainings.state_dict()
        own = {"_z": self._z, "_observation": self._observer.latest}
        state["own"] |= devices.copied_to_host(own)
        memory, scope = vars(self._observer.memory), self._scope.state_dict()
        return {
            **state,
            "memory": devices.copied_to_host(memory),
            "scope": devices.copied_to_host(scope),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state` was taken, in a stack of the same task and settings."""
        self._trainings.load_state_dict(state)
        like = self._z
        self._observer.memory = Memory(**{
            name: own.to(like.device) for name, own in state["memory"].items()
        })  # fmt: skip
        self._observer.latest = state["own"]["_observation"].clone()
        self._z = state["own"]["_z"].to(like, copy=True)
        self._scope = Scope.from_state({
            name: own.to(like.device) for name, own in state["scope"].items()
        })  # fmt: skip
