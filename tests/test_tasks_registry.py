"""Tasks by name: those shipped, those of one's own, and names that are wrong."""

import pickle
from typing import Any

import pytest

from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.tasks import DEFAULT_TASK, make_task, register_task, task_names
from tests.toys import ToyTask


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    from lr_env.tasks import registry

    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))


def test_the_shipped_names_are_there_in_alphabetical_order() -> None:
    assert {"breast_cancer", "digits", "family", "titanic", "wine"} <= set(task_names())
    assert task_names() == sorted(task_names())
    assert make_task(DEFAULT_TASK).name == DEFAULT_TASK


@pytest.mark.parametrize(
    ("name", "nearest"), [("titanc", "titanic"), ("digit", "digits"), ("vine", "wine")]
)
def test_unknown_names_are_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean {nearest!r}"):
        make_task(name)


def test_a_name_far_from_all_is_answered_with_all() -> None:
    with pytest.raises(UnknownNameError) as caught:
        make_task("xyz")
    assert all(name in str(caught.value) for name in task_names())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"colour": "red"}, "colour"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": "a"}, "seed must be a whole number"),
    ],
)
def test_unusable_arguments_are_one_sentence(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        make_task("digits", **arguments)
    assert "\n" not in str(caught.value)


def test_a_task_of_ones_own_is_registered_by_call_or_as_a_decorator() -> None:
    register_task("called", ToyTask)

    @register_task("decorated")
    class Decorated(ToyTask):
        pass

    assert {"called", "decorated"} <= set(task_names())
    called = make_task("called", seed=5, architecture="dropout")
    assert (type(called), called.seed, called.architecture) == (ToyTask, 5, "dropout")
    assert isinstance(make_task("decorated"), Decorated)


def test_a_name_registered_anew_is_replaced() -> None:
    register_task("mine", ToyTask)
    register_task("mine", lambda seed: ToyTask(seed + 1))
    assert make_task("mine", seed=1).seed == 2


@pytest.mark.parametrize("name", ["", "../mine", "my task", "a/b"])
def test_unusable_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="letters, digits"):
        register_task(name, ToyTask)
    assert name not in task_names()


def test_instances_travel_between_processes() -> None:
    task = make_task("wine", seed=3)
    again = pickle.loads(pickle.dumps(task))  # noqa: S301
    assert again.describe() == task.describe()
    assert again.steps_per_epoch(32) == 106 // 32
