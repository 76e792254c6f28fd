"""Worker processes that are none: they answer in the caller's, without seconds of imports."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from lr_env.errors import LrEnvError
from lr_env.processes import Answer


class InlineProcesses:
    """What `lr_env.processes.Processes` does; whatever crosses the border is still pickled."""

    def __init__(self, died: str) -> None:
        self._answers: list[Answer] = []
        self._pending: list[Any] = []

    def __len__(self) -> int:
        return len(self._answers)

    def start(self, build: Callable[..., Answer], *arguments: Any) -> None:
        build, arguments = pickle.loads(pickle.dumps((build, arguments)))  # noqa: S301
        self._answers.append(build(*arguments))

    def ask(self, messages: Sequence[Any]) -> list[Any]:
        self.send(messages)
        return self.receive()

    def send(self, messages: Sequence[Any]) -> None:
        self._pending = pickle.loads(pickle.dumps(list(messages)))  # noqa: S301

    def receive(self) -> list[Any]:
        answers = [
            _answer(own, message) for own, message in zip(self._answers, self._pending, strict=True)
        ]
        for answer in answers:
            if isinstance(answer, LrEnvError):
                raise answer
        return answers

    def close(self) -> None:
        self._answers.clear()


def _answer(own: Answer, message: Any) -> Any:
    try:
        return pickle.loads(pickle.dumps(own(message)))  # noqa: S301
    except LrEnvError as error:
        return error
