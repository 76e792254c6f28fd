"""Worker processes: what happens where one side is gone."""

import multiprocessing
import signal

import pytest

from agents.config import TrainConfig
from agents.curriculum import plan_stacks
from agents.workers import Workers, _work
from lr_env.errors import WorkerError


def test_a_worker_whose_answer_nobody_waits_for_ends_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    here, there = multiprocessing.Pipe()
    here.send(("layers", None))
    here.close()
    _work(there, [])


def test_a_worker_that_died_between_two_calls_is_one_sentence() -> None:
    workers = Workers(plan_stacks(TrainConfig(stacks=1, slots=4)), 1)
    try:
        workers._processes[0].kill()
        workers._processes[0].join()
        with pytest.raises(WorkerError, match="died"):
            workers.reset()
    finally:
        workers.close()
