"""Workers that would compute something else than was planned say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from experiments import surroundings as module
from experiments.arms import parse_arms
from experiments.recipes import run_recipe
from experiments.runs import RunSpec
from experiments.surroundings import surroundings
from lr_env.errors import DataError
from lr_env.tasks import make_task

PLAIN = RunSpec(
    task="wine", task_arguments={}, seed=1, arm=parse_arms("adam")[0], policy=None, epochs=1,
    batch_size=16,
)  # fmt: skip
SPEC = replace(PLAIN, expects=surroundings(PLAIN, make_task("wine", seed=0).describe()))


def test_what_is_as_planned_is_run() -> None:
    assert run_recipe(SPEC)["test"] == run_recipe(PLAIN)["test"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"torch": "1.0"}, r"torch '.*' where the evaluation was planned with '1\.0'"),
        ({"task": {**SPEC.expects["task"], "hash": "other"}}, "hash .* planned with 'other'"),
    ],
)
def test_other_versions_and_other_data_are_not(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        run_recipe(replace(SPEC, expects={**SPEC.expects, **changes}))


def test_the_task_is_described_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(name: str, **arguments: Any) -> Any:
        made.append(name)
        return make_task(name, **arguments)

    module._description.cache_clear()
    monkeypatch.setattr(module, "make_task", make)
    for seed in range(3):
        module.check_surroundings(replace(SPEC, seed=seed))
    assert made == ["wine"]
