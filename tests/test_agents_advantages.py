"""Advantages next to twins."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer

from agents.advantages import TwinRolloutBuffer, above_twins, ended_within, whole_returns

SLOTS, STEPS = 5, 6
STACKS = np.array([0, 0, 1, 2, 2])
ALONE = np.arange(SLOTS)
ARGUMENTS = (STEPS, spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,)))


def _twins() -> Callable[[], NDArray[np.int64]]:
    """Two pairs and one slot alone, at another decision each time they are asked."""
    moments = iter([np.array([0, 0, 1, 2, 2]) + 10 * step for step in range(STEPS + 1)])
    return lambda: next(moments)


def _twin_buffer(steps: int = STEPS, **given: Any) -> TwinRolloutBuffer:
    """Return a buffer whose trainings all begin with the rollout, undiscounted."""
    given.setdefault("n_envs", SLOTS)
    buffer = TwinRolloutBuffer(
        steps,
        *ARGUMENTS[1:],
        gains=lambda: buffer.rewards[: buffer.pos].sum(0),
        **given,
    )
    return buffer


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
    buffer.compute_returns_and_advantage(torch.zeros(SLOTS), np.ones(SLOTS))
    return buffer


def _in_units(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values / np.sqrt(np.mean(values**2))


def test_twins_are_judged_against_each_other_and_a_training_alone_as_before() -> None:
    values = np.array([1.0, 3.0, 10.0, 30.0, 7.0], np.float32)
    above, alone = above_twins(values, np.array([4, 4, 2, 2, 9]))
    assert above.tolist() == [-2.0, 2.0, -20.0, 20.0, 7.0]
    assert alone.tolist() == [False] * 4 + [True]


def test_the_measure_of_a_training_is_the_others_alone() -> None:
    """The more twins, the less a training would have counted in its own measure."""
    for twins in (2, 3, 8):
        values = np.zeros(twins, np.float32)
        values[0] = 6.0
        above, _ = above_twins(values, np.zeros(twins, dtype=np.int64))
        assert above[0] == 6.0
        assert above[1:] == pytest.approx(-6.0 / (twins - 1))


def test_a_training_alone_leaves_the_twins_of_its_stack_as_they_are() -> None:
    one_stack = np.zeros(SLOTS, dtype=np.int64)
    buffer = _filled(_twin_buffer(stacks=one_stack, twins=_twins()))
    assert buffer.advantages[:, [0, 1]] == pytest.approx(0.0)
    # The only one without a twin has nobody to be ahead of.
    assert buffer.advantages[:, 2] == pytest.approx(0.0, abs=1e-6)
    assert (buffer.advantages[:, 4] > 0.0).all()


def test_trainings_alone_are_judged_by_those_that_ended() -> None:
    """What the critic guesses of the others' ends is no measure of these."""
    slots = 4
    buffer = _twin_buffer(
        1, gamma=1.0, gae_lambda=1.0, n_envs=slots,
        stacks=np.zeros(slots, dtype=np.int64), twins=lambda: np.arange(slots),
    )  # fmt: skip
    rewards = np.array([1.0, -1.0, 0.0, 0.0])
    zeros = torch.zeros(slots)
    buffer.add(np.zeros((slots, 2)), np.zeros((slots, 1)), rewards, np.ones(slots), zeros, zeros)
    guesses = torch.tensor([0.0, 0.0, 5.0, 5.0])
    buffer.compute_returns_and_advantage(guesses, np.array([1, 1, 0, 0]))
    assert buffer.advantages[0] == pytest.approx([1.0, -1.0, 0.0, 0.0])


def test_what_twins_have_in_common_is_no_advantage() -> None:
    own = _filled(_twin_buffer(stacks=STACKS, twins=_twins()))
    plain = _filled(RolloutBuffer(*ARGUMENTS, n_envs=SLOTS))
    assert np.array_equal(own.returns, plain.returns)
    assert own.advantages[:, :2] == pytest.approx(0.0)
    assert own.advantages[:, 2] == pytest.approx(0.0, abs=1e-6)
    # Whole trainings differ by all gifts, whichever decision is asked for.
    assert own.advantages[:, 4] == pytest.approx(1.0, abs=1e-5)
    assert own.advantages[:, 3] == pytest.approx(-1.0, abs=1e-5)


def test_a_decision_is_credited_with_its_whole_training() -> None:
    gains = np.array([[11.0, 5.0], [13.0, 11.0], [3.0, 18.0], [7.0, 8.0]])
    starts = np.array([[0, 1], [0, 0], [1, 0], [0, 1]], np.float32)
    whole = whole_returns(gains, starts)
    # The first began before the rollout, and had 10 by then; the last two go on after it.
    assert whole.T.tolist() == [[13.0, 13.0, 7.0, 7.0], [18.0, 18.0, 18.0, 8.0]]


def test_who_is_behind_by_then_is_not_ahead_by_what_is_left() -> None:
    """The first twin loses 2 and gains them back: from the second decision on it gains more."""
    buffer = _twin_buffer(
        2, n_envs=2, stacks=np.zeros(2, dtype=np.int64), gamma=1.0, gae_lambda=1.0,
        twins=lambda: np.zeros(2, dtype=np.int64),
    )  # fmt: skip
    for own, start in (([-2.0, 0.0], 1), ([2.0, 1.0], 0)):
        buffer.add(
            np.zeros((2, 2)), np.zeros((2, 1)), np.array(own), np.full(2, start), torch.zeros(2),
            torch.zeros(2),
        )  # fmt: skip
    buffer.compute_returns_and_advantage(torch.zeros(2), np.ones(2))
    assert buffer.returns[1].tolist() == [2.0, 1.0]
    assert (buffer.advantages[:, 0] < 0.0).all()
    assert (buffer.advantages[:, 1] > 0.0).all()


def test_labels_are_those_of_the_moment_that_an_action_was_taken_in() -> None:
    pair = np.array([0, 0, 1, 2, 3])
    moments = iter([ALONE, ALONE, pair, *[ALONE + 10] * (STEPS - 2)])
    one_stack = np.zeros(SLOTS, dtype=np.int64)
    buffer = _twin_buffer(stacks=one_stack, twins=lambda: next(moments))
    for _ in range(STEPS):
        buffer.add(
            np.zeros((SLOTS, 2)), np.zeros((SLOTS, 1)), np.array([4.0, 2.0, 0.0, 0.0, 0.0]),
            np.zeros(SLOTS), torch.zeros(SLOTS), torch.zeros(SLOTS),
        )  # fmt: skip
    buffer.compute_returns_and_advantage(torch.zeros(SLOTS), np.ones(SLOTS))
    # Alone they stand 2 apart with their whole rewards, as a pair 2 above and 2 below each other.
    assert buffer.advantages[2, 0] == pytest.approx(-buffer.advantages[2, 1])
    apart = buffer.advantages[:, 0] - buffer.advantages[:, 1]
    assert apart / apart[0] == pytest.approx([1.0, 1.0, 2.0, 1.0, 1.0, 1.0], abs=1e-5)


def test_a_training_that_outlasts_the_rollout_has_no_advantage() -> None:
    starts = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    ended = ended_within(starts, np.array([True, False, False]))
    assert ended.T.tolist() == [[True] * 4, [True, True, False, False], [False] * 4]

    buffer = _twin_buffer(4, n_envs=3, stacks=np.zeros(3, dtype=np.int64), twins=lambda: ALONE[:3])
    for step in range(4):
        buffer.add(
            np.zeros((3, 2)), np.zeros((3, 1)), np.array([1.0, 3.0, -7.0]), starts[step],
            torch.zeros(3), torch.zeros(3),
        )  # fmt: skip
    buffer.compute_returns_and_advantage(torch.full((3,), 9.0), np.array([True, False, False]))
    assert ((buffer.advantages != 0.0) == ended).all()


def test_every_stack_weighs_the_same_whatever_its_losses_span() -> None:
    def spread(scale: float) -> NDArray[np.float32]:
        buffer = _twin_buffer(stacks=STACKS, twins=_twins())
        for step in range(STEPS):
            buffer.add(
                np.zeros((SLOTS, 2)), np.zeros((SLOTS, 1)),
                np.array([1.0, 2.0, 0.1 * step, 0.0, 1.0]) * np.array([scale, scale, 1, 1, 1]),
                np.full(SLOTS, step == 0), torch.zeros(SLOTS), torch.zeros(SLOTS),
            )  # fmt: skip
        buffer.compute_returns_and_advantage(torch.zeros(SLOTS), np.ones(SLOTS))
        return buffer.advantages

    assert spread(1.0) == pytest.approx(spread(100.0), abs=1e-5)
