"""Advantages in units of each stack."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from agents.advantages import StackwiseRolloutBuffer

STACKS = np.array([0, 0, 0, 1, 1])
STEPS = 6


def _filled(buffer: RolloutBuffer) -> RolloutBuffer:
    """Fill with equal numbers, the second stack's rewards a hundred times smaller."""
    random = np.random.default_rng(0)
    scale = np.where(STACKS == 0, 1.0, 0.01)
    for step in range(STEPS):
        buffer.add(
            np.zeros((len(STACKS), 2)), np.zeros((len(STACKS), 1)),
            random.normal(size=len(STACKS)) * scale, np.full(len(STACKS), step == 0),
            torch.zeros(len(STACKS)), torch.zeros(len(STACKS)),
        )  # fmt: skip
    buffer.compute_returns_and_advantage(torch.zeros(len(STACKS)), np.zeros(len(STACKS)))
    return buffer


def _arguments() -> tuple:
    return STEPS, spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,))


def test_every_stack_has_the_same_say_whatever_its_rewards() -> None:
    own = _filled(StackwiseRolloutBuffer(*_arguments(), n_envs=len(STACKS), stacks=STACKS))
    plain = _filled(RolloutBuffer(*_arguments(), n_envs=len(STACKS)))
    assert np.array_equal(own.returns, plain.returns)
    for stack, tolerance in ((0, 0.01), (1, 0.02)):
        mine, theirs = own.advantages[:, stack == STACKS], plain.advantages[:, stack == STACKS]
        assert mine.mean() == pytest.approx(0.0, abs=1e-5)
        assert mine.std() == pytest.approx(1.0, abs=tolerance)
        assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] == pytest.approx(1.0)


def test_a_stack_in_which_nothing_happens_has_no_say() -> None:
    buffer = StackwiseRolloutBuffer(*_arguments(), n_envs=len(STACKS), stacks=STACKS)
    buffer.compute_returns_and_advantage(torch.zeros(len(STACKS)), np.zeros(len(STACKS)))
    assert np.array_equal(buffer.advantages, np.zeros((STEPS, len(STACKS))))
