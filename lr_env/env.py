"""The environment: one neural network's training, its learning rates set layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from lr_env import decisions
from lr_env.action import (
    DISCRETE_ACTIONS,
    ActionMode,
    Envelope,
    InitialScale,
    read_action,
)
from lr_env.devices import Device, check_device
from lr_env.errors import InvalidArgumentError, ModelError
from lr_env.inner_loop import InnerLoop, check_start, check_validation_samples
from lr_env.instances import BaseRate, Instance, build_task, check_base_lr, draw_instance
from lr_env.instruments import Instruments
from lr_env.observation import BOUND, FEATURES
from lr_env.optimizers import OptimizerFactory
from lr_env.reward import RewardKind, check_reward, potential, reward
from lr_env.schedules import Schedule, resolve_schedule
from lr_env.tasks import Task

RenderMode = Literal["rgb_array", "ansi"]
Observation = NDArray[np.float32]
Action = NDArray[Any]


class LayerwiseLREnv(gymnasium.Env[Observation, Action]):
    """A training as an episode; see `docs/environment.md` for the full page.

    Args:
        task: name of a registered task, a function of the seed that builds one, or a `Task`
            (then every episode has its split, and only initialisation and order vary).
        task_arguments: handed on to a task that is given by name.
        optimizer: name from torch.optim, or a function of (parameters, lr=).
        optimizer_arguments: handed on to the optimizer.
        base_lr: rate of the base schedule, or a range (low, high) drawn from log-uniformly.
        base_schedule: `constant`, `cosine`, `linear`, `wsd`, or a function of
            (step, total_steps) that returns a factor on `base_lr`.
        steps_per_action: mini-batches from decision to decision, once past the dense start.
        num_decisions: decisions of an episode.
        total_steps: mini-batches of an episode, in place of `num_decisions`.
        batch_size: mini-batch size; the task's own by default.
        discrete: five actions for each layer in place of a number in [-1, 1].
        action_mode: `incremental` or `residual`.
        z_max: half-width of the envelope around the base schedule, octaves.
        max_step: largest incremental move, octaves.
        z_init: `zero`, `cautious`, `calibrated` or `matched`; see `Envelope`.
        ceiling: on what actions may let one update change of a layer, in multiples of 1 / L of
            its weights (0.05 / L if it is pretrained, 0.003 at most); None for none.
        envelope_schedule: name of a schedule that the envelope adds to the base schedule.
        reach: how far actions move a layer from its start, octaves; None: as far as z_max.
        leak: share of its way from the start that a layer takes back at every decision.
        pretrained_reach: the reach of pretrained layers, octaves; 0 keeps actions off them, None:
            that of the others.
        shared_action: whether every layer that may move gets the mean of their actions.
        reward_kind: `potential` or `progress`.
        gamma: discount that the potential is shaped with.
        validation_samples: validation samples that the reward is measured on.
        observe_validation: whether the policy sees the validation loss as well.
        dtype: of the inner training.
        device: that the inner training computes on, `cpu` or `cuda`.
        render_mode: `rgb_array`, `ansi` or None.

    Raises:
        LrEnvError: one of its subclasses for every argument that cannot be used.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium declares it so
        "render_modes": ["rgb_array", "ansi"],
        "render_fps": 4,
    }
    _potential: Tensor

    @torch.inference_mode(False)
    def __init__(
        self,
        task: str | Task | Callable[[int], Task] = "digits",
        *,
        task_arguments: Mapping[str, Any] | None = None,
        optimizer: str | OptimizerFactory = "adam",
        optimizer_arguments: Mapping[str, Any] | None = None,
        base_lr: BaseRate = 1e-3,
        base_schedule: str | Schedule = "constant",
        steps_per_action: int = 5,
        num_decisions: int = 100,
        total_steps: int | None = None,
        batch_size: int | None = None,
        discrete: bool = False,
        action_mode: ActionMode = "incremental",
        z_max: float = 10.0,
        max_step: float = 2.0,
        z_init: InitialScale = "zero",
        ceiling: float | None = 1.0,
        envelope_schedule: str = "constant",
        reach: float | None = None,
        leak: float = 0.0,
        pretrained_reach: float | None = None,
        shared_action: bool = False,
        reward_kind: RewardKind = "potential",
        gamma: float = 0.99,
        validation_samples: int = 256,
        observe_validation: bool = False,
        dtype: torch.dtype = torch.float32,
        device: Device = "cpu",
        render_mode: RenderMode | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise InvalidArgumentError(
                f"render_mode is 'rgb_array', 'ansi' or None, not {render_mode!r}."
            )
        check_validation_samples(validation_samples)
        if task_arguments and not isinstance(task, str):
            raise InvalidArgumentError("task_arguments are for a task that is given by its name.")
        check_reward(reward_kind, gamma)
        self.render_mode = render_mode
        self.total_steps = (
            decisions.total_steps_of(num_decisions, steps_per_action)
            if total_steps is None
            else total_steps
        )
        decisions.check_horizon(self.total_steps, steps_per_action)
        check_base_lr(base_lr)
        self._task = task
        self._task_arguments = dict(task_arguments or {})
        self._optimizer = optimizer
        self._optimizer_arguments = dict(optimizer_arguments or {})
        self._base_lr = base_lr
        self._schedule = resolve_schedule(base_schedule)
        self._steps_per_action = steps_per_action
        self._batch_size = batch_size
        self._discrete = discrete
        self.envelope = Envelope(
            z_max=z_max, mode=action_mode, max_step=max_step, z_init=z_init, ceiling=ceiling,
            schedule=envelope_schedule, reach=reach, leak=leak, pretrained_reach=pretrained_reach,
            shared=shared_action,
        )  # fmt: skip
        self._reward_kind: RewardKind = reward_kind
        self._gamma = gamma
        self._validation_samples = validation_samples
        self._observe_validation = observe_validation
        self._dtype = dtype
        self._device = check_device(device)
        self._begin(Instance.first(base_lr))
        self.layer_names = tuple(layer.name for layer in self._instruments.layers)
        count = len(self.layer_names)
        self.observation_space = spaces.Box(-BOUND, BOUND, (count, len(FEATURES)), np.float32)
        self.action_space = (
            spaces.MultiDiscrete([len(DISCRETE_ACTIONS)] * count)
            if discrete
            else spaces.Box(-1.0, 1.0, (count,), np.float32)
        )
        self._ended = True

    @torch.inference_mode(False)
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a training; its first gradient is computed, and no weight is moved."""
        super().reset(seed=seed)
        # Until the training has begun: what fails to is not to be stepped.
        self._ended = True
        self._begin(draw_instance(self.np_random, self._base_lr))
        names = tuple(layer.name for layer in self._instruments.layers)
        if names != self.layer_names:
            raise ModelError(
                f"The task's model changed its layers from {self.layer_names} to {names}: fix its "
                "architecture through task_arguments, since spaces cannot change."
            )
        self._ended = False
        return self._look()

    @torch.inference_mode(False)
    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Set the rates, apply the pending gradient, train to the next decision, and look."""
        if self._ended:
            raise gymnasium.error.ResetNeeded("Call reset() before step(): the episode is over.")
        self._instruments.act(read_action(action, len(self.layer_names), self._discrete))
        finite = self._advance()
        before = self._potential
        self._validation_loss = (
            self._loop.validation_loss(self._validation_samples) if finite else float("nan")
        )
        self._potential = self._measure_potential()
        diverged = not np.isfinite(self._validation_loss)
        gained = float(reward(before, self._potential, self._gamma, self._reward_kind))
        self._ended = diverged or self._instruments.step >= self.total_steps
        if diverged:
            return self._last_observation.copy(), gained, True, False, self._info(diverged=True)
        observation, info = self._look()
        return observation, gained, self._ended, False, info

    def render(self) -> Any:
        """Return the training so far as a picture `[H, W, 3]` (rgb_array) or text (ansi)."""
        from lr_env import rendering

        if self.render_mode is None:
            gymnasium.logger.warn("render() needs render_mode='rgb_array' or 'ansi' at creation.")
            return None
        if not self._history:
            raise gymnasium.error.ResetNeeded("Call reset() before render(): nothing to show yet.")
        draw = rendering.picture if self.render_mode == "rgb_array" else rendering.text
        return draw(self._history, self.layer_names, self.total_steps)

    def _begin(self, instance: Instance) -> None:
        task = build_task(self._task, instance.seed, self._task_arguments)
        before = getattr(self, "_loop", None)
        self._loop = InnerLoop(
            task,
            instance.seed,
            optimizer=self._optimizer,
            optimizer_arguments=self._optimizer_arguments,
            base_lr=instance.base_lr,
            schedule=self._schedule,
            total_steps=self.total_steps,
            batch_size=task.batch_size if self._batch_size is None else self._batch_size,
            dtype=self._dtype,
            device=self._device,
        )
        if before is not None and before.model is self._loop.model:
            raise ModelError(
                f"Task {task.name!r} returned the model of the training before: build_model() is "
                "to make a new one every time."
            )
        self._instruments = Instruments(
            self._loop.model,
            self._loop.optimizer,
            total_steps=self.total_steps,
            steps_per_action=self._steps_per_action,
            envelope=self.envelope,
            steps_per_epoch=task.steps_per_epoch(self._loop.batch_size),
            batch_size=self._loop.batch_size,
            is_pretrained=task.is_pretrained,
        )
        first = self._loop.forward_backward()
        self._instruments.record_loss(first)
        self._initial_loss = self._loop.validation_loss(self._validation_samples)
        check_start(task.name, bool(torch.isfinite(first) and np.isfinite(self._initial_loss)))
        self._validation_loss = self._initial_loss
        self._potential = self._measure_potential()
        self._history: list[dict[str, Any]] = []

    def _advance(self) -> bool:
        """Train to the next decision; return whether every loss was finite."""
        for _ in range(self._instruments.interval()):
            self._instruments.before_update()
            self._loop.optimizer.step()
            self._instruments.after_update()
            self._loop.set_base_lr(self._instruments.step)
            loss = self._loop.forward_backward()
            self._instruments.record_loss(loss)
            if not torch.isfinite(loss):
                return False
        return True

    def _look(self) -> tuple[Observation, dict[str, Any]]:
        self._train_loss = self._instruments.mean_loss()
        if self._observe_validation:
            self._instruments.record_validation(self._validation_loss)
        observation = self._instruments.observe()
        self._last_observation: Observation = observation.to(torch.float32).numpy()
        return self._last_observation.copy(), self._info(diverged=False)

    def _info(self, diverged: bool) -> dict[str, Any]:
        info = {
            "step": self._instruments.step,
            "diverged": diverged,
            "train_loss": self._train_loss,
            "validation_loss": self._initial_loss if diverged else self._validation_loss,
            "base_lr": float(self._loop.base_lr),
            "learning_rates": np.array(self._instruments.learning_rates),
        }
        self._history.append(info)
        return info

    def _measure_potential(self) -> Tensor:
        value = torch.tensor([self._validation_loss, self._initial_loss], dtype=torch.float64)
        return potential(value[0], value[1])
