"""What differs from lane to lane: seeds, base rates, schedules, horizons, and where it stands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lr_env.instances import Instance, draw_instance
from lr_env.randomness import numpy_generator
from lr_env.schedules import Schedule, resolve_schedule

if TYPE_CHECKING:
    from lr_env.stack.settings import StackSettings


class Lanes:
    """The N lanes' own draws and clocks.

    Attributes `[N]`: step: updates made; total_steps; base_lr: nominal rate, float64;
    seeds: of the instances; sees_validation, sees_epochs: what the policy is shown.
    """

    def __init__(self, num: int, settings: StackSettings) -> None:
        self._settings = settings
        self._random = [np.random.default_rng() for _ in range(num)]
        longest = settings.total_steps
        self._horizon = max(longest) if isinstance(longest, tuple) else longest
        self._factors = torch.ones((num, self._horizon + 1), dtype=torch.float64)
        self._above = torch.ones_like(self._factors)
        self._schedules: list[str | Schedule] = [settings.schedules[0]] * num
        self.step = torch.zeros(num, dtype=torch.long)
        self.total_steps = torch.full((num,), self._horizon)
        self.base_lr = torch.ones(num, dtype=torch.float64)
        self.seeds = torch.zeros(num, dtype=torch.long)
        self.sees_validation = torch.zeros(num, dtype=torch.bool)
        self.sees_epochs = torch.zeros(num, dtype=torch.bool)

    def seed(self, lane: int, seed: int) -> None:
        """Seed a lane as `gymnasium.Env.reset` seeds a single environment."""
        self._random[lane] = np.random.default_rng(seed)

    def draw(self, lane: int) -> Instance:
        """Draw the lane's next instance and set its clock to 0."""
        settings = self._settings
        rates = settings.lane_rates
        instance = draw_instance(self._random[lane], rates[lane] if rates else settings.base_lr)
        # From the instance's own seed: the single environment draws nothing but the instance.
        random = numpy_generator(instance.seed, "lane")
        horizon = settings.total_steps
        if isinstance(horizon, tuple):
            low, high = (math.log(steps) for steps in horizon)
            horizon = round(math.exp(random.uniform(low, high)))
        kind = settings.schedules[int(random.integers(len(settings.schedules)))]
        self._place(lane, kind, horizon)
        self.step[lane] = 0
        self.base_lr[lane] = instance.base_lr
        self.seeds[lane] = instance.seed
        self.sees_validation[lane] = bool(random.random() < settings.validation_seen)
        self.sees_epochs[lane] = bool(random.random() < settings.epochs_seen)
        return instance

    def rates(self, like: Tensor) -> Tensor:
        """Return the rate of each lane's base schedule `[N]`, as `like`."""
        return self.coming_rates(like, 1)[0]

    def coming_rates(self, like: Tensor, turns: int) -> Tensor:
        """Return the same for this step and those after it `[turns, N]`."""
        return (self.base_lr * self._coming(self._factors, turns)).to(like)

    def reference(self, like: Tensor) -> Tensor:
        """Return the rate that each lane's is measured against `[N]`, as `like`.

        The nominal one, or today's where a schedule of the user's own is above it, without the
        envelope's; see `LayerRates.reference`.
        """
        return (self.base_lr * self._coming(self._above, 1)[0]).to(like)

    def state_dict(self) -> dict[str, Any]:
        """Return draws, clocks and generators as plain values and tensors."""
        return {
            "step": self.step.clone(),
            "total_steps": self.total_steps.clone(),
            "base_lr": self.base_lr.clone(),
            "seeds": self.seeds.clone(),
            "sees_validation": self.sees_validation.clone(),
            "sees_epochs": self.sees_epochs.clone(),
            "schedules": list(self._schedules),
            "random": [generator.bit_generator.state for generator in self._random],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        for name in (
            "step", "total_steps", "base_lr", "seeds", "sees_validation", "sees_epochs",
        ):  # fmt: skip
            getattr(self, name).copy_(state[name])
        for lane, kind in enumerate(state["schedules"]):
            self._place(lane, kind, int(self.total_steps[lane]))
        for generator, kept in zip(self._random, state["random"], strict=True):
            generator.bit_generator.state = kept

    def _coming(self, factors: Tensor, turns: int) -> Tensor:
        steps = (self.step.unsqueeze(1) + torch.arange(turns)).clamp(max=self._horizon)
        return factors.gather(1, steps).T.contiguous()

    def _place(self, lane: int, kind: str | Schedule, horizon: int) -> None:
        schedule = resolve_schedule(kind)
        self._schedules[lane] = kind
        self.total_steps[lane] = horizon
        steps = range(horizon + 1)
        own = self._settings.envelope.factor
        base = torch.tensor([schedule(step, horizon) for step in steps], dtype=torch.float64)
        envelope = torch.tensor([own(step, horizon) for step in steps], dtype=torch.float64)
        self._factors[lane, : horizon + 1] = base * envelope
        self._above[lane, : horizon + 1] = base.clamp(min=1.0)
