"""What is timed: each subject does some work when called and returns its inner steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

from lr_env.env import LayerwiseLREnv
from lr_env.randomness import torch_generator
from lr_env.stack import Stack, StackSettings
from lr_env.tasks import TensorTask
from lr_env.tasks.family.spec import FamilySpec
from lr_env.tasks.family.task import FamilyTask

Subject = Callable[[], int]
STEPS_PER_ACTION = 5
VALIDATION_SAMPLES = 256


def _spec(architecture: Any, inputs: Any, depth: int, width: int, size: int) -> FamilySpec:
    return FamilySpec(
        architecture=architecture, depth=depth, width=width, activation="relu", normalised=False,
        inputs=inputs, size=size, classes=10 if inputs != "tokens" else 4, train_size=1000,
        batch_size=32, data={"vector": ("clusters",), "image": ("bars",), "tokens": ("majority",)}[
            inputs
        ],
        label_noise=0.0, optimizer="adam", validation_size=VALIDATION_SAMPLES,
    )  # fmt: skip


ARCHITECTURES: dict[str, FamilySpec] = {
    "MLP 64-32-32-10": _spec("mlp", "vector", 2, 32, 64),
    "CNN 8x8, 8-16 channels": _spec("cnn", "image", 2, 8, 1),
    "transformer, 1 block of 16": _spec("transformer", "tokens", 1, 16, 8),
}


def stack(architecture: str, num: int) -> Subject:
    """Return one decision of `num` stacked trainings, observations and rewards on."""
    settings = StackSettings(
        total_steps=10**6,
        steps_per_action=STEPS_PER_ACTION,
        validation_samples=VALIDATION_SAMPLES,
        schedules=("constant",),
    )
    stacked = Stack(_task(architecture), num, settings)
    stacked.reset(0)
    actions = torch.zeros(num, len(stacked.layers))

    def decide() -> int:
        before = int(stacked.steps.sum())
        stacked.step(actions)
        return int(stacked.steps.sum()) - before

    # Past the dense decisions at the start.
    for _ in range(4):
        decide()
    return decide


def plain_loop(architecture: str) -> Subject:
    """Return a hundred steps of the fastest plain loop: fused Adam, data in memory, no agent."""
    task = _task(architecture)(0)
    torch_state = torch.get_rng_state()
    model: nn.Module = task.build_model()
    torch.set_rng_state(torch_state)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    generator = torch_generator(0, "benchmark")

    def train() -> int:
        steps = 0
        while steps < 100:
            for batch in task.batches("train", 32, generator):
                optimizer.zero_grad()
                torch.autograd.backward(task.loss(model, batch))
                optimizer.step()
                steps += 1
        return steps

    return train


def single_envs(architecture: str, num: int, processes: bool) -> tuple[Subject, Callable[[], Any]]:
    """Return one decision of `num` single environments, and what closes them."""
    make = partial(_single, architecture)
    kind = gymnasium.vector.AsyncVectorEnv if processes else gymnasium.vector.SyncVectorEnv
    envs: Any = kind([make] * num)
    envs.reset(seed=0)
    actions = np.zeros(envs.action_space.shape, dtype=np.float32)
    for _ in range(4):
        envs.step(actions)

    def decide() -> int:
        envs.step(actions)
        return num * STEPS_PER_ACTION

    return decide, envs.close


def _single(architecture: str) -> LayerwiseLREnv:
    return LayerwiseLREnv(
        _task(architecture),
        steps_per_action=STEPS_PER_ACTION,
        num_decisions=10**5,
        validation_samples=VALIDATION_SAMPLES,
    )


def _task(architecture: str) -> Callable[[int], TensorTask]:
    return partial(FamilyTask, ARCHITECTURES[architecture])
