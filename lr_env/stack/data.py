"""The data of N trainings: stacked tensors and each training's own shuffled order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lr_env.errors import DataError
from lr_env.randomness import torch_generator
from lr_env.tasks.base import Split
from lr_env.tasks.tensor_task import TensorTask

_USED: tuple[Split, ...] = ("train", "validation")


class StackedData:
    """Train and validation samples `[N, n, ...]`, and where each training is in its pass.

    Every lane draws its order as `TensorTask.batches` does from the same generator, so that a
    lane equals the single training of its seed. The samples lie on `device`; orders are drawn on
    the CPU, so that they are the same on every device, and stay there.
    """

    def __init__(
        self,
        template: TensorTask,
        num: int,
        batch_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._num = num
        self._dtype = dtype
        self._tensors: dict[Split, tuple[Tensor, Tensor]] = {}
        for split in _USED:
            inputs, targets = template.tensors(split)
            self._tensors[split] = (
                _repeated(_cast(inputs, dtype).to(device), num),
                _repeated(targets.to(device), num),
            )
        self.train_size = template.size("train")
        self.batch_size = min(batch_size, self.train_size)
        self._batches_per_pass = self.train_size // self.batch_size
        self._order = torch.zeros((num, self.train_size), dtype=torch.long)
        self._position = torch.zeros(num, dtype=torch.long)
        self._columns = torch.arange(self.batch_size)
        self._first_rows = (torch.arange(num) * self.train_size).unsqueeze(1)
        self._generators = [torch.Generator() for _ in range(num)]

    def load(self, lane: int, task: TensorTask, seed: int) -> None:
        """Put an instance's data into `lane`, at the beginning of its first pass.

        Raises:
            DataError: its shapes differ from the stack's.
        """
        for split, (inputs, targets) in self._tensors.items():
            new_inputs, new_targets = task.tensors(split)
            if new_inputs.shape != inputs.shape[1:] or new_targets.shape != targets.shape[1:]:
                raise DataError(
                    f"Task {task.name!r} changed its {split} shape from {tuple(inputs.shape[1:])} "
                    f"to {tuple(new_inputs.shape)}: lanes of a stack need equal shapes."
                )
            inputs[lane] = _cast(new_inputs, self._dtype)
            targets[lane] = new_targets
        self._generators[lane] = torch_generator(seed, "batches")
        self._shuffle(lane)

    @property
    def train_samples(self) -> tuple[Tensor, Tensor]:
        """The training samples of all lanes, one after another: `[N * n, ...]`, `[N * n]`."""
        inputs, targets = self._tensors["train"]
        return inputs.flatten(0, 1), targets.flatten(0, 1)

    def next_index(self, running: Tensor) -> Tensor:
        """Return the next mini-batches' rows of `train_samples` `[N, B]`, on the CPU.

        Only the lanes of `running` `[N]` move on; what the others are given is not for use.
        """
        over = self._position >= self._batches_per_pass
        for lane in (running & over).nonzero().squeeze(1).tolist():
            self._shuffle(lane)
        start = self._position.clamp(max=self._batches_per_pass - 1) * self.batch_size
        columns = start.unsqueeze(1) + self._columns
        self._position += running
        return self._order.gather(1, columns) + self._first_rows

    def next_batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next mini-batches `[rows, B, ...]` of the lanes in `rows`."""
        running = torch.zeros(self._num, dtype=torch.bool)
        running[rows] = True
        inputs, targets = self.train_samples
        index = self.next_index(running)[rows].to(inputs.device)
        return inputs[index], targets[index]

    def validation(self, samples: int, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return the first validation samples `[rows, samples, ...]` of the lanes in `rows`."""
        inputs, targets = self._tensors["validation"]
        return inputs[rows, :samples], targets[rows, :samples]

    def state_dict(self) -> dict[str, Any]:
        """Return order and generators; the samples come back from the lanes' seeds."""
        return {
            "order": self._order.clone(),
            "position": self._position.clone(),
            "generators": torch.stack([generator.get_state() for generator in self._generators]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, after `load` of every lane."""
        self._order.copy_(state["order"])
        self._position.copy_(state["position"])
        for generator, kept in zip(self._generators, state["generators"], strict=True):
            # A view into a stacked tensor would be read from its storage's beginning.
            generator.set_state(kept.clone())

    def _shuffle(self, lane: int) -> None:
        own = self._order[lane]
        torch.randperm(self.train_size, generator=self._generators[lane], out=own)
        self._position[lane] = 0


def _repeated(own: Tensor, num: int) -> Tensor:
    """Return `[num, ...]`, contiguous even if `own` is not: perceptrons read rows from memory."""
    return own.expand(num, *own.shape).clone(memory_format=torch.contiguous_format)


def _cast(inputs: Tensor, dtype: torch.dtype) -> Tensor:
    return inputs.to(dtype) if inputs.is_floating_point() else inputs
