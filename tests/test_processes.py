"""Worker processes: one answer to every message, and errors where the caller can act on them."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator

import pytest

from lr_env.errors import InvalidArgumentError, WorkerError
from lr_env.processes import Processes, serve


def _halves(name: str) -> Callable[[int], str]:
    """Return what answers even numbers with their halves."""
    if name == "bug":
        raise ZeroDivisionError("in somebody's task.")
    if name == "broken":
        raise InvalidArgumentError("This one cannot be built.")

    def answer(number: int) -> str:
        if number % 2:
            raise InvalidArgumentError(f"{name} takes no odd numbers.")
        return f"{name} {number // 2}"

    return answer


@pytest.fixture
def processes() -> Iterator[Processes]:
    own = Processes("A process died: use fewer.")
    yield own
    own.close()


def test_an_error_is_raised_once_all_answers_are_in(processes: Processes) -> None:
    for name in ("one", "two"):
        processes.start(_halves, name)
    assert processes.ask([2, 4]) == ["one 1", "two 2"]
    with pytest.raises(InvalidArgumentError, match="one takes no odd numbers"):
        processes.ask([3, 6])
    assert processes.ask([8, 10]) == ["one 4", "two 5"]


def test_what_cannot_be_built_and_what_died_are_told_in_words(processes: Processes) -> None:
    for name in ("broken", "two"):
        processes.start(_halves, name)
    with pytest.raises(InvalidArgumentError, match="cannot be built"):
        processes.ask([2, 4])
    processes._processes[0].kill()
    processes._processes[0].join()
    with pytest.raises(WorkerError, match="use fewer"):
        processes.ask([6, 8])
    assert not processes._connections[1].poll()


def test_a_bug_in_what_is_run_is_named(processes: Processes) -> None:
    processes.start(_halves, "bug")
    with pytest.raises(WorkerError, match=r"\(ZeroDivisionError: in somebody's task\)"):
        processes.ask([2])
    processes.close()
    with pytest.raises(WorkerError, match="closed"):
        processes.ask([2])


def test_a_process_whose_answer_nobody_waits_for_ends_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    here, there = multiprocessing.Pipe()
    here.send(2)
    here.close()
    serve(there, _halves, ["one"])


class Interrupted:
    """The end of a pipe whose reader is interrupted."""

    def recv(self) -> None:
        raise KeyboardInterrupt


def test_answers_to_a_call_that_was_interrupted_are_never_those_to_the_next(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes.start(_halves, "one")
    processes.send([2])
    with monkeypatch.context() as patched:
        patched.setattr(processes, "_connections", [Interrupted()])
        with pytest.raises(KeyboardInterrupt):
            processes.receive()
    with pytest.raises(WorkerError, match="make it anew"):
        processes.ask([4])
