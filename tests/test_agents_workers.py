"""Worker processes of a meta-training: what happens where one is gone."""

import pytest

from agents.config import TrainConfig
from agents.curriculum import plan_stacks
from agents.workers import Workers
from lr_env.errors import WorkerError


def test_a_worker_that_died_between_two_calls_is_one_sentence() -> None:
    workers = Workers(plan_stacks(TrainConfig(stacks=1, slots=4)), 1)
    try:
        (process,) = workers._processes._processes
        process.kill()
        process.join()
        with pytest.raises(WorkerError, match="resume the run"):
            workers.reset()
    finally:
        workers.close()
