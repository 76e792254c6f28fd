"""Advantages next to twins."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer

from agents.advantages import TwinRolloutBuffer, above_twins

SLOTS, STEPS = 5, 6
STACKS = np.array([0, 0, 1, 2, 2])
ALONE = np.arange(SLOTS)
ARGUMENTS = (STEPS, spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,)))


def _twins() -> Callable[[], NDArray[np.int64]]:
    """Two pairs and one slot alone, at another decision each time they are asked."""
    moments = iter([np.array([0, 0, 1, 2, 2]) + 10 * step for step in range(STEPS + 1)])
    return lambda: next(moments)


def _filled(buffer: RolloutBuffer) -> RolloutBuffer:
    """Fill with rewards that pairs have in common, but for a gift to the last slot."""
    random = np.random.default_rng(0)
    for step in range(STEPS):
        luck = random.normal(size=3)[[0, 0, 1, 2, 2]]
        luck[4] += 0.5
        buffer.add(
            np.zeros((SLOTS, 2)), np.zeros((SLOTS, 1)), luck, np.full(SLOTS, step == 0),
            torch.zeros(SLOTS), torch.zeros(SLOTS),
        )  # fmt: skip
    buffer.compute_returns_and_advantage(torch.zeros(SLOTS), np.zeros(SLOTS))
    return buffer


def test_twins_are_judged_against_each_other_and_a_training_alone_as_before() -> None:
    values = np.array([1.0, 3.0, 10.0, 30.0, 7.0], np.float32)
    above = above_twins(values, np.array([4, 4, 2, 2, 9]))
    assert above.tolist() == [-1.0, 1.0, -10.0, 10.0, 7.0]


def test_what_twins_have_in_common_is_no_advantage() -> None:
    own = _filled(TwinRolloutBuffer(*ARGUMENTS, n_envs=SLOTS, stacks=STACKS, twins=_twins()))
    plain = _filled(RolloutBuffer(*ARGUMENTS, n_envs=SLOTS))
    assert np.array_equal(own.returns, plain.returns)
    assert own.advantages[:, :2] == pytest.approx(0.0)
    alone = plain.advantages[:, 2]
    assert own.advantages[:, 2] == pytest.approx(alone - alone.mean(), abs=1e-6)
    gift = plain.advantages[:, 4] - plain.advantages[:, 3]
    assert (gift > 0.0).all()
    assert own.advantages[:, 4] == pytest.approx(gift / 2.0, abs=1e-6)
    assert own.advantages[:, 3] == pytest.approx(-gift / 2.0, abs=1e-6)


def test_labels_are_those_of_the_moment_that_an_action_was_taken_in() -> None:
    pair = np.array([0, 0, 1, 2, 3])
    moments = iter([ALONE, ALONE, pair, *[ALONE + 10] * (STEPS - 2)])
    one_stack = np.zeros(SLOTS, dtype=np.int64)
    buffer = TwinRolloutBuffer(
        *ARGUMENTS, n_envs=SLOTS, stacks=one_stack, twins=lambda: next(moments), gae_lambda=0.0
    )
    for _ in range(STEPS):
        buffer.add(
            np.zeros((SLOTS, 2)), np.zeros((SLOTS, 1)), np.array([4.0, 2.0, 0.0, 0.0, 0.0]),
            np.zeros(SLOTS), torch.zeros(SLOTS), torch.zeros(SLOTS),
        )  # fmt: skip
    buffer.compute_returns_and_advantage(torch.zeros(SLOTS), np.zeros(SLOTS))
    # Alone, both stand 2 apart with their whole rewards; as a pair, 1 above and 1 below.
    sums = buffer.advantages[:, 0] + buffer.advantages[:, 1] - 2.0 * buffer.advantages[:, 2]
    assert sums == pytest.approx([6.0, 6.0, 0.0, 6.0, 6.0, 6.0], abs=1e-5)
