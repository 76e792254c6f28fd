"""What is timed: each subject does some work when called and returns its inner steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

import lr_env  # noqa: F401  (registers the ids)
from lr_env.env import LayerwiseLREnv
from lr_env.randomness import IsolatedTorchRandomness, torch_generator
from lr_env.registration import register_envs
from lr_env.tasks import TensorTask
from lr_env.tasks.family.spec import FamilySpec
from lr_env.tasks.family.task import FamilyTask

Subject = Callable[[], int]
STEPS_PER_ACTION = 5
VALIDATION_SAMPLES = 256
BATCH = 32
_ID = "lr_env/LayerwiseLR-v0"
# Past the dense decisions at the start, and whatever is compiled on the way.
_WARM = 5


def _spec(architecture: Any, inputs: Any, depth: int, width: int, size: int) -> FamilySpec:
    return FamilySpec(
        architecture=architecture, depth=depth, width=width, activation="relu", normalised=False,
        inputs=inputs, size=size, classes=10 if inputs != "tokens" else 4, train_size=1000,
        batch_size=BATCH,
        data={"vector": ("clusters",), "image": ("bars",), "tokens": ("majority",)}[inputs],
        label_noise=0.0, optimizer="adam", validation_size=VALIDATION_SAMPLES,
    )  # fmt: skip


ARCHITECTURES: dict[str, FamilySpec] = {
    "MLP 64-32-32-10": _spec("mlp", "vector", 2, 32, 64),
    "CNN 8x8, 8-16 channels": _spec("cnn", "image", 2, 8, 1),
    "transformer, 1 block of 16": _spec("transformer", "tokens", 1, 16, 8),
}


@dataclass(frozen=True)
class VectorKind:
    """One way to have a vector environment: its size, processes and whether it is compiled."""

    num: int
    workers: int = 1
    compile: bool = False

    @property
    def name(self) -> str:
        """What the tables call it."""
        compiled = ", compiled" if self.compile else ""
        return f"make_vec of {self.num}{compiled}" + (", 2 processes" if self.workers > 1 else "")


@contextmanager
def vector_env(architecture: str, kind: VectorKind) -> Iterator[tuple[Subject, float]]:
    """Give one decision of `make_vec`'s environment, and the seconds until it was ready."""
    register_envs()
    began = time.perf_counter()
    envs = gymnasium.make_vec(
        _ID, num_envs=kind.num, task=_task(architecture), workers=kind.workers,
        compile=kind.compile, **_arguments(),
    )  # fmt: skip
    envs.reset(seed=0)
    actions = np.zeros(envs.action_space.shape or (), dtype=np.float32)
    for _ in range(_WARM):
        envs.step(actions)

    def decide() -> int:
        envs.step(actions)
        return kind.num * STEPS_PER_ACTION

    try:
        yield decide, time.perf_counter() - began
    finally:
        envs.close()


@contextmanager
def single_envs(architecture: str, num: int, processes: bool) -> Iterator[Subject]:
    """Give one decision of `num` single environments in Gymnasium's own vector environments."""
    make = partial(_single, architecture)
    kind = gymnasium.vector.AsyncVectorEnv if processes else gymnasium.vector.SyncVectorEnv
    envs: Any = kind([make] * num)
    envs.reset(seed=0)
    actions = np.zeros(envs.action_space.shape, dtype=np.float32)
    for _ in range(_WARM):
        envs.step(actions)

    def decide() -> int:
        envs.step(actions)
        return num * STEPS_PER_ACTION

    try:
        yield decide
    finally:
        envs.close()


def plain_loop(architecture: str) -> Subject:
    """Return a hundred steps of the fastest plain loop: fused Adam, data in memory, no agent."""
    task = _task(architecture)(0)
    with IsolatedTorchRandomness(0, "model").use():
        model: nn.Module = task.build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    generator = torch_generator(0, "benchmark")

    def train() -> int:
        steps = 0
        while steps < 100:
            for batch in task.batches("train", BATCH, generator):
                optimizer.zero_grad()
                torch.autograd.backward(task.loss(model, batch))
                optimizer.step()
                steps += 1
        return steps

    return train


def _arguments() -> dict[str, Any]:
    return {
        "steps_per_action": STEPS_PER_ACTION,
        "num_decisions": 10**4,
        "validation_samples": VALIDATION_SAMPLES,
    }


def _single(architecture: str) -> LayerwiseLREnv:
    return LayerwiseLREnv(_task(architecture), **_arguments())


def _task(architecture: str) -> Callable[[int], TensorTask]:
    return partial(FamilyTask, ARCHITECTURES[architecture])
