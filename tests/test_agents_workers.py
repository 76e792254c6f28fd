"""Worker processes of a meta-training: how scores are shared out, and where one is gone."""

import pytest
import torch

from agents.workers import Workers
from lr_env.errors import WorkerError
from lr_env.policy import FrozenPolicy
from lr_env.scoring import SCORERS, Entry
from lr_env.stack import StackSettings
from tests.toys import ToyTask


def test_a_worker_that_died_between_two_calls_is_one_sentence() -> None:
    workers = Workers((), 1)
    try:
        (process,) = workers._processes._processes
        process.kill()
        process.join()
        with pytest.raises(WorkerError, match="resume the run"):
            workers.reset()
    finally:
        workers.close()


@pytest.mark.usefixtures("inline")
def test_kinds_scored_at_once_are_what_each_is_scored_alone() -> None:
    policy = FrozenPolicy.load("ppo-v1")
    settings = StackSettings(base_lr=(1e-4, 1e-2), total_steps=20)
    suite = [Entry(name, ToyTask, settings, 2) for name in ("one", "two", "three")]
    workers = Workers((), 2)
    try:
        together = workers.score(list(SCORERS), policy, suite, 3)
    finally:
        workers.close()
    assert list(together) == list(SCORERS)
    for kind, found in together.items():
        for own, alone in zip(found, SCORERS[kind](policy, suite, 3), strict=True):
            torch.testing.assert_close(own, alone, rtol=0, atol=0)
    # Else kinds could be mistaken for each other.
    assert len({float(torch.cat(found).mean()) for found in together.values()}) == len(SCORERS)
