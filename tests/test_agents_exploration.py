"""Exploration: layers that share a random number, noise that outlasts a decision."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.exploration import SharedNoisePolicy
from agents.slots import noise_groups


def test_half_of_the_trainings_share_one_number_among_their_layers() -> None:
    trainings = np.repeat(np.arange(64), 5)
    groups = noise_groups(trainings, 0.5)
    sizes = [len(np.unique(groups[trainings == training])) for training in range(64)]
    assert set(sizes) == {1, 5}
    assert 28 <= sizes.count(1) <= 36
    assert len(np.unique(groups)) == groups.max() + 1


def test_no_number_is_shared_between_trainings() -> None:
    trainings = np.repeat(np.arange(20), 3)
    for shared in (0.0, 0.5, 1.0):
        groups = noise_groups(trainings, shared)
        for group in np.unique(groups):
            assert len(np.unique(trainings[groups == group])) == 1
    assert len(np.unique(noise_groups(trainings, 0.0))) == 60
    assert len(np.unique(noise_groups(trainings, 1.0))) == 20


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_noise_outlasts_a_decision_and_keeps_its_deviation(memory: float) -> None:
    slots, decisions = 400, 60
    policy = SharedNoisePolicy(
        spaces.Box(-5, 5, (3,)), spaces.Box(-1, 1, (1,)), lambda _: 1e-3, log_std_init=-1.0,
        groups=np.arange(slots), noise_seed=1, noise_memory=memory,
    )  # fmt: skip
    with torch.no_grad():
        actions = torch.stack([policy(torch.zeros(slots, 3))[0] for _ in range(decisions)])
    assert float(actions.std()) == pytest.approx(np.exp(-1.0), rel=0.05)
    now, then = actions[1:].flatten(), actions[:-1].flatten()
    assert float(torch.corrcoef(torch.stack([now, then]))[0, 1]) == pytest.approx(memory, abs=0.03)
