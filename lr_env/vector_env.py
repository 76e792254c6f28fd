"""The vector environment: N trainings as one `gymnasium.vector.VectorEnv`, stepping together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from lr_env.action import Envelope, read_action
from lr_env.arguments import check_count
from lr_env.env import LayerwiseLREnv
from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.instances import build_task
from lr_env.stack import SplitStack, Stack, StackSettings, check_stackable
from lr_env.tasks import TensorTask

Arrays = NDArray[Any]
Infos = dict[str, Any]


class LayerwiseLRVectorEnv(VectorEnv[Arrays, Arrays, Arrays]):
    """N trainings of one architecture, stacked; lane i is the single environment seeded alike.

    Observations `[N, L, F]`, actions `[N, L]`, infos those of `LayerwiseLREnv` as arrays over
    lanes with Gymnasium's `_key` masks. It draws nothing: there is no render mode.

    Args:
        num_envs: number of trainings N.
        task: as for `LayerwiseLREnv`, of tasks that are `TensorTask`.
        autoreset_mode: a `gymnasium.vector.AutoresetMode` or its value: what happens to a lane
            that ended, in the same step, in the next one, or nothing until it is reset.
        workers: processes that the lanes are divided among, one core each; 1 is this process.
        compile: whether to compile the trainings: several times as fast on small networks,
            after up to a minute at the start; needs a C++ compiler.
        arguments: those of `LayerwiseLREnv`, with its defaults. The optimizer is `adam`,
            `adamax`, `adamw`, `rmsprop` or `sgd`.

    Raises:
        LrEnvError: one of its subclasses for every argument that cannot be used.
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        num_envs: int = 1,
        task: Any = "digits",
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        workers: int = 1,
        compile: bool = False,
        **arguments: Any,
    ) -> None:
        if arguments.get("render_mode") is not None:
            raise InvalidArgumentError(
                "The vector environment draws nothing: leave render_mode out, or ask make_vec for "
                "vectorization_mode='sync'."
            )
        check_count("num_envs", num_envs)
        check_count("workers", workers)
        # The single environment checks the arguments, and its spaces are those of a lane.
        single = LayerwiseLREnv(task, **arguments)
        given = inspect.signature(LayerwiseLREnv).bind(task, **arguments)
        given.apply_defaults()
        chosen = given.arguments
        self.num_envs = num_envs
        self.mode = _autoreset_mode(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.mode}
        self.layer_names = single.layer_names
        self.total_steps = single.total_steps
        make_task = partial(_tensor_task, chosen["task"], dict(chosen["task_arguments"] or {}))
        settings = _settings(chosen, single.total_steps, single.envelope, compile)
        check_stackable(make_task, settings.dtype)
        self._stack: Stack | SplitStack = (
            Stack(make_task, num_envs, settings)
            if workers == 1
            else SplitStack(make_task, num_envs, settings, workers)
        )
        self._discrete = bool(chosen["discrete"])
        self.single_observation_space = single.observation_space
        self.single_action_space = single.action_space
        self.observation_space = batch_space(single.observation_space, num_envs)
        self.action_space = batch_space(single.action_space, num_envs)
        self._begun = np.zeros(num_envs, dtype=np.bool_)
        self._ended = np.zeros(num_envs, dtype=np.bool_)

    @torch.inference_mode(False)
    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Infos | None = None,
    ) -> tuple[Arrays, Infos]:
        """Begin trainings: all, or those of `options["reset_mask"]` `[N]`; others stay as they are.

        `seed` seeds lane i with `seed + i`, or with its own entry of a sequence.

        Raises:
            InvalidArgumentError: seeds or a mask of another kind or length.
        """
        seeds = _seeds(seed, self.num_envs)
        mask = _reset_mask(options, self.num_envs)
        # Until they have begun: what fails to is not to be stepped.
        self._begun &= ~mask
        self._stack.begin(torch.from_numpy(mask), seeds)
        self._begun |= mask
        self._ended &= ~mask
        return self._observations(), self._infos(mask, np.zeros_like(mask))

    @torch.inference_mode(False)
    def step(self, actions: Arrays) -> tuple[Arrays, Arrays, Arrays, Arrays, Infos]:
        """Take one decision `[N, L]` in every training, and train to the next one.

        Raises:
            InvalidArgumentError: actions that are none.
            gymnasium.error.ResetNeeded: a training was not begun, or ended and was not reset.
        """
        over = self._ended & (self.mode is AutoresetMode.DISABLED)
        if (over | ~self._begun).any():
            raise gymnasium.error.ResetNeeded(
                "Call reset() before step(): some trainings are over or have not begun."
            )
        action = self._read(actions)
        fresh = self._ended
        if fresh.any():
            self._stack.begin(torch.from_numpy(fresh))
        outcome = self._stack.advance(action, torch.from_numpy(~fresh) if fresh.any() else None)
        ended, diverged = outcome.terminated.numpy(), outcome.diverged.numpy()
        everyone = np.ones_like(ended)
        infos = self._infos(everyone, diverged)
        self._ended = ended
        if self.mode is AutoresetMode.SAME_STEP and ended.any():
            infos = self._begin_ended(ended, diverged)
        reward: Arrays = outcome.reward.double().numpy()
        return self._observations(), reward, ended.copy(), np.zeros_like(ended), infos

    def close_extras(self, **kwargs: Any) -> None:
        """End the worker processes, if there are any."""
        if isinstance(self._stack, SplitStack):
            self._stack.close()

    def _begin_ended(self, ended: Arrays, diverged: Arrays) -> Infos:
        """Begin what ended; return the fresh infos, with what was last seen of those that ended."""
        last = self._observations()
        final_obs = np.full(self.num_envs, None, dtype=object)
        for lane in np.flatnonzero(ended):
            final_obs[lane] = last[lane]
        final_info = self._infos(ended, diverged)
        self._stack.begin(torch.from_numpy(ended))
        self._ended = np.zeros_like(ended)
        infos = self._infos(np.ones_like(ended), np.where(ended, False, diverged))
        return {
            "final_obs": final_obs, "_final_obs": ended.copy(),
            "final_info": final_info, "_final_info": ended.copy(), **infos,
        }  # fmt: skip

    def _read(self, actions: Arrays) -> Tensor:
        shape = (self.num_envs, len(self.layer_names))
        values = np.asarray(actions)
        if values.shape != shape:
            raise InvalidArgumentError(
                f"Actions hold one entry for each layer of each training, shape {shape}, not "
                f"{values.shape}."
            )
        return read_action(values.reshape(-1), values.size, self._discrete).view(shape)

    def _observations(self) -> Arrays:
        return np.array(self._stack.figures.observation.numpy(), dtype=np.float32)

    def _infos(self, mask: Arrays, diverged: Arrays) -> Infos:
        """Return what the single environment's info holds, as arrays; 0 outside `mask` `[N]`."""
        stack = self._stack.figures
        validation = torch.where(
            torch.from_numpy(diverged), stack.initial_loss, stack.validation_loss
        )
        values = {
            "step": stack.steps,
            "diverged": torch.from_numpy(diverged),
            "train_loss": stack.train_loss.double(),
            "validation_loss": validation.double(),
            "base_lr": stack.base_lr,
            "learning_rates": stack.learning_rates.double(),
        }
        infos: Infos = {}
        for name, value in values.items():
            array = value.numpy().copy()
            array[~mask] = 0
            infos[name], infos[f"_{name}"] = array, mask.copy()
        return infos


def _settings(
    chosen: Mapping[str, Any], total_steps: int, envelope: Envelope, compile: bool
) -> StackSettings:
    """Return the stack's settings that the single environment's arguments mean."""
    if not isinstance(chosen["optimizer"], str):
        raise InvalidArgumentError(
            "Stacked trainings take an optimizer by name (adam, adamax, adamw, rmsprop or sgd): "
            "ask make_vec for vectorization_mode='sync' with one of your own."
        )
    same = (
        "base_lr", "steps_per_action", "batch_size", "reward_kind", "gamma", "validation_samples",
        "dtype", "device",
    )  # fmt: skip
    return StackSettings(
        optimizer=chosen["optimizer"].lower(),
        optimizer_arguments=dict(chosen["optimizer_arguments"] or {}),
        schedules=(chosen["base_schedule"],),
        total_steps=total_steps,
        envelope=envelope,
        compile=compile,
        validation_seen=float(chosen["observe_validation"]),
        **{name: chosen[name] for name in same},
    )


def _tensor_task(task: Any, arguments: Mapping[str, Any], seed: int) -> TensorTask:
    """Return the instance of `task` for `seed`, of the kind that can be stacked."""
    built = build_task(task, seed, arguments)
    own = type(built)
    if (
        not isinstance(built, TensorTask)
        or own.loss is not TensorTask.loss
        or own.batches is not TensorTask.batches
    ):
        raise InvalidArgumentError(
            f"Task {built.name!r} cannot be stacked, since it is no TensorTask with that class's "
            "own loss and batches: ask make_vec for vectorization_mode='sync'."
        )
    return built


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        raise UnknownNameError(
            "autoreset_mode", str(mode), (known.value for known in AutoresetMode)
        ) from None


def _seeds(seed: int | Sequence[int | None] | None, num: int) -> list[int | None] | None:
    if seed is None:
        return None
    if isinstance(seed, Sequence | np.ndarray):
        seeds: list[Any] = list(seed)
    else:
        seeds = [seed + lane for lane in range(num)] if hasattr(seed, "__index__") else [seed]
    whole = all(own is None or (hasattr(own, "__index__") and own >= 0) for own in seeds)
    if len(seeds) != num or not whole:
        raise InvalidArgumentError(
            f"seed is a number from 0 or a sequence of {num} of them (None keeps a lane's own), "
            f"not {seed!r}."
        )
    return seeds


def _reset_mask(options: Infos | None, num: int) -> Arrays:
    """Return which lanes to reset `[N]`; the options are left as they are, for wrappers."""
    if not options or "reset_mask" not in options:
        return np.ones(num, dtype=np.bool_)
    mask = options["reset_mask"]
    fits = isinstance(mask, np.ndarray) and mask.shape == (num,) and mask.dtype == np.bool_
    if not fits or not mask.any():
        raise InvalidArgumentError(
            f"reset_mask is a NumPy array of {num} bools, at least one of them True."
        )
    return np.array(mask)
