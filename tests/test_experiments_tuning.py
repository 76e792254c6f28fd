"""Tuned arms: equal trials on validation data, seeds of their own, the best rate of the grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.arms import parse_arms
from experiments.config import EvaluateConfig
from experiments.defaults import RATES, default_arms, default_seeds, tuning_grid
from experiments.engines import Save, Work, guarded
from experiments.evaluate import evaluate
from experiments.runs import RunSpec
from experiments.tuning import choose_rates, trial_specs

ARMS = parse_arms("adam adam-cosine@best adam-linear@best agent-narrow@best")


def spec_of(arm: Any, seed: int) -> RunSpec:
    return RunSpec(
        task="toy", task_arguments={}, seed=seed, arm=arm, policy=None, epochs=1, batch_size=8
    )


def trial(accuracy: float | None, loss: float | None, diverged: bool = False) -> dict[str, Any]:
    return {
        "points": [{"accuracy": 0.9, "loss": 0.0}, {"accuracy": accuracy, "loss": loss}],
        "diverged_at_step": 3 if diverged else None, "seconds": 2.0,
    }  # fmt: skip


def test_every_tuned_arm_has_the_same_trials_and_reported_seeds_none() -> None:
    specs = trial_specs(ARMS, "paper", spec_of)
    by_method = {
        name: [spec for spec in specs if spec.arm.method_name == name]
        for name in ("adam-cosine", "adam-linear")
    }
    assert sum(map(len, by_method.values())) == len(specs)  # none for the agent
    assert len(by_method["adam-cosine"]) == len(by_method["adam-linear"]) >= 20
    assert min(spec.seed for spec in specs) >= 1000
    assert {spec.arm.lr for spec in specs} == set(RATES)


def test_the_best_rate_is_chosen_and_divergence_is_worst() -> None:
    rates, _ = tuning_grid("smoke")
    found = {0: trial(0.5, 0.7), 1: trial(0.8, 0.9), 2: trial(None, None, diverged=True)}
    records = {
        spec: found[rates.index(spec.arm.lr)] for spec in trial_specs(ARMS, "smoke", spec_of)
    }
    arms, about = choose_rates(ARMS, "smoke", records)
    assert [arm.lr for arm in arms] == [1e-3, rates[1], rates[1], rates[1]]
    assert [arm.name for arm in arms] == [arm.name for arm in ARMS]
    own = about["agent-narrow@best"]
    assert (own["trials_of"], own["trials"], own["seconds"]) == ("adam-cosine", 3, 6.0)
    assert own["table"][2] == {"lr": rates[2], "diverged": 1, "accuracy": None, "loss": None}
    assert not own["at_edge"]


def test_equal_accuracy_is_decided_by_the_loss() -> None:
    rates, _ = tuning_grid("smoke")
    found = {0: trial(0.8, 0.5), 1: trial(0.8, 0.6), 2: trial(0.7, 0.1)}
    records = {
        spec: found[rates.index(spec.arm.lr)] for spec in trial_specs(ARMS, "smoke", spec_of)
    }
    arms, about = choose_rates(ARMS, "smoke", records)
    assert arms[1].lr == rates[0]
    assert about["adam-cosine@best"]["at_edge"]


def test_trials_are_resumed_and_shared_between_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[RunSpec] = []

    def run_here(
        specs: list[RunSpec], work: Work[RunSpec], save: Save[RunSpec], *rest: Any
    ) -> None:
        ran.extend(specs)
        for spec in specs:
            save(spec, guarded(work, spec))

    monkeypatch.setattr("experiments.grid.run_all", run_here)
    config = EvaluateConfig(
        task="wine", scale="smoke", seeds=3, epochs=2, arms=("adam-cosine@best adam-cosine",),
        out=tmp_path,
    )  # fmt: skip
    summary = evaluate(config)["wine"]
    trials = [spec for spec in ran if not spec.read_test]
    assert [(spec.arm.lr, spec.seed) for spec in trials] == [
        (rate, 1000) for rate in tuning_grid("smoke")[0]
    ]
    chosen = summary["tuning"]["adam-cosine@best"]["chosen"]
    # Where the best rate is the method's own, both arms are the same runs.
    assert len(ran) - len(trials) == (3 if chosen == 1e-3 else 6)
    assert len(list((tmp_path / "wine-smoke/tuning").glob("*.json"))) == 3
    ran.clear()
    assert evaluate(config)["wine"]["differences"] == summary["differences"]
    assert ran == []


@pytest.mark.parametrize(
    ("task", "scale", "seeds", "arms"),
    [
        ("digits", "quick", 10, 6), ("titanic", "quick", 10, 6), ("titanic", "paper", 30, 6),
        ("cifar10", "quick", 3, 4), ("imdb", "quick", 3, 4), ("sst2", "smoke", 3, 4),
    ],
)  # fmt: skip
def test_defaults(task: str, scale: Any, seeds: int, arms: int) -> None:
    config = EvaluateConfig(task=task, scale=scale)
    assert set(config.seeds_by_arm.values()) == {default_seeds(task, scale)} == {seeds}
    assert len(config.parsed_arms) == len(default_arms(task, "plan")) == arms
    assert {"adam", "agent"} <= {arm.name for arm in config.parsed_arms}


@pytest.mark.parametrize(
    ("changes", "folder"),
    [
        ({}, "imdb"),
        ({"scale": "paper"}, "imdb-paper"),
        ({"scale": "quick"}, "imdb"),
        ({"model": "org/tiny bert"}, "imdb-tiny-bert-92c9"),
        ({"scale": "smoke", "recipe": "hf-warmup"}, "imdb-smoke-hf-warmup"),
        ({"head_dropout": 0.3}, "imdb-dropout-0.3"),
    ],
)
def test_what_must_not_mix_lies_apart(
    changes: dict[str, Any], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.config.device_here", lambda: "cpu")
    assert EvaluateConfig(task="imdb", **changes).folder == Path("runs/eval") / folder


def test_models_of_one_name_lie_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bert").mkdir()
    monkeypatch.chdir(tmp_path / "bert")
    models = ("bert", "org/bert", "/one/bert", "/two/bert", ".")
    names = [EvaluateConfig(task="imdb", model=model).folder.name for model in models]
    assert all(name.startswith("imdb-bert-") for name in names)
    assert len(set(names)) == len(models)


def test_a_gpu_makes_the_plan_in_full_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.config.device_here", lambda: "cuda")
    scales = {task: EvaluateConfig(task=task).resolved_scale for task in ("imdb", "digits", "all")}
    assert scales == {"imdb": "paper", "digits": "quick", "all": "paper"}
    assert EvaluateConfig(task="imdb", scale="quick").resolved_scale == "quick"


def test_all_hands_every_task_what_it_takes() -> None:
    config = EvaluateConfig(task="all", scale="smoke", model="/m", stem="cifar")
    own = {one.task: one.task_arguments for one in config.by_task}
    assert own == {
        "titanic": {"scale": "smoke"},
        "cifar10": {"scale": "smoke", "stem": "cifar"},
        "sst2": {"scale": "smoke", "model": "/m"},
        "imdb": {"scale": "smoke", "model": "/m"},
    }
