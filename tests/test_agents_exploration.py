"""Exploration: layers that share a random number, coins by group."""

import numpy as np

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
