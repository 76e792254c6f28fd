"""A stack whose lanes are divided among processes, one core each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pickle import PicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lr_env.errors import InvalidArgumentError
from lr_env.processes import Answer, Processes
from lr_env.stack.figures import Figures, Outcome
from lr_env.stack.settings import StackSettings
from lr_env.stack.stack import Stack
from lr_env.stack.trainings import TaskFactory

Arrays = dict[str, NDArray[Any]]

DIED = "A process of the vector environment died (out of memory?): use fewer trainings or workers."


class SplitStack:
    """Takes `Stack`'s calls and hands every process its share of the lanes.

    Lanes are the same trainings as in one `Stack`: each has its own seeds and generators. The
    task has to be picklable, since processes are spawned.

    Args:
        task, num, settings: as for `Stack`.
        workers: number of processes.

    Raises:
        LrEnvError: one of `Stack`'s, or a process died.
    """

    def __init__(self, task: TaskFactory, num: int, settings: StackSettings, workers: int) -> None:
        if not 1 <= workers <= num:
            raise InvalidArgumentError(
                f"workers must be from 1 to the number of trainings ({num}), not {workers}."
            )
        bounds = [round(num * part / workers) for part in range(workers + 1)]
        self._shares = [slice(*bounds[worker : worker + 2]) for worker in range(workers)]
        self._processes = Processes(DIED)
        try:
            for share in self._shares:
                self._start(task, share, settings)
            self._ask([("figures", None, None)] * workers)
        except BaseException:
            self.close()
            raise

    @property
    def figures(self) -> Figures:
        """What the processes told last."""
        return self._figures

    def begin(self, mask: Tensor, seeds: Sequence[int | None] | None = None) -> Tensor:
        """See `Stack.begin`."""
        self._ask([
            ("begin", mask[share].numpy(), None if seeds is None else seeds[share])
            for share in self._shares
        ])  # fmt: skip
        return self._figures.observation

    def advance(self, action: Tensor, active: Tensor | None = None) -> Outcome:
        """See `Stack.advance`."""
        outcome = self._ask([
            ("advance", action[share].numpy(), None if active is None else active[share].numpy())
            for share in self._shares
        ])  # fmt: skip
        return Outcome(**outcome)

    def close(self) -> None:
        """End the processes."""
        self._processes.close()

    def _start(self, task: TaskFactory, share: slice, settings: StackSettings) -> None:
        rates = settings.lane_rates and settings.lane_rates[share]
        own = replace(settings, lane_rates=rates)
        try:
            self._processes.start(_build, task, share.stop - share.start, own)
        except (PicklingError, AttributeError, TypeError) as error:
            raise InvalidArgumentError(
                f"With workers, task and settings go to other processes, and these cannot ({error})"
                ": make what they name importable, without lambdas and nested functions."
            ) from error

    def _ask(self, messages: Sequence[Any]) -> dict[str, Tensor]:
        """Take in the lanes' figures; return the outcome's fields, both in the order of lanes."""
        figures, outcomes = zip(*self._processes.ask(messages), strict=True)
        self._figures = Figures(**_concatenated(figures))
        return _concatenated(outcomes)


def _build(task: TaskFactory, num: int, settings: StackSettings) -> Answer:
    """Build one share of the lanes; return what answers for it."""
    return partial(_answer, Stack(task, num, settings))


def _answer(stack: Stack, message: tuple[str, Any, Any]) -> tuple[Arrays, Arrays]:
    word, array, other = message
    outcome: Arrays = {}
    if word == "begin":
        stack.begin(torch.from_numpy(array), other)
    elif word == "advance":
        active = None if other is None else torch.from_numpy(other)
        outcome = _arrays(stack.advance(torch.from_numpy(array), active))
    return _arrays(stack.figures), outcome


def _arrays(tensors: Figures | Outcome) -> Arrays:
    return {name: tensor.numpy() for name, tensor in vars(tensors).items()}


def _concatenated(parts: Sequence[Arrays]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]
    }
