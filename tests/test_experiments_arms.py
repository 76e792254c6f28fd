"""Arms by name, their base rates, and what they do with the learning rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from experiments.arms import METHODS, Arm, build_optimizer, build_scheduler, parse_arms
from experiments.config import EvaluateConfig
from lr_env.errors import InvalidArgumentError, UnknownNameError


def learning_rates(arm: Arm, steps: int) -> list[float]:
    optimizer = build_optimizer(arm, nn.Linear(2, 2))
    scheduler = build_scheduler(arm, optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        assert not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        if scheduler is not None:
            scheduler.step()
    return rates


@pytest.mark.parametrize("text", ["adam agent@1e-5", "adam,agent@1e-5", " adam ,  agent@0.00001 "])
def test_spaces_and_commas(text: str) -> None:
    assert [arm.name for arm in parse_arms(text)] == ["adam", "agent@1e-05"]


def test_an_arm_counts_once() -> None:
    assert [arm.name for arm in parse_arms("adam adam@0.001 adam")] == ["adam"]


@pytest.mark.parametrize("name", METHODS)
def test_names_round_trip(name: str) -> None:
    for text in (name, f"{name}@0.0123456789"):
        (arm,) = parse_arms(text)
        assert parse_arms(arm.name) == [arm]
        assert arm.description.startswith("Adam, base rate ")


def test_unknown_arm_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'adam-cosine'"):
        parse_arms("adam-cosin")


@pytest.mark.parametrize("text", ["adam@0", "adam@-1", "adam@nan", "adam@inf", "adam@1e9", "adam@"])
def test_unusable_rates(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="learning rate above 0 and up to 1000"):
        parse_arms(text)


@pytest.mark.parametrize("text", ["", " , "])
def test_no_arms(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="No arms given"):
        parse_arms(text)


def test_schedules_of_the_baselines() -> None:
    adam, cosine, linear = (
        learning_rates(arm, 20) for arm in parse_arms("adam@0.01 adam-cosine@0.01 adam-linear@0.01")
    )
    assert adam == [0.01] * 20
    assert cosine[0] == 0.01
    assert cosine[10] == pytest.approx(0.005)
    assert cosine == sorted(cosine, reverse=True)
    assert linear[:3] == pytest.approx([0.005, 0.01, 0.01])
    assert linear[-1] == pytest.approx(0.01 / 18)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 2}, "seeds must be at least 3, not 2"),
        ({"epochs": 0}, "epochs must be above zero"),
        ({"batch_size": -4}, "batch_size must be above zero"),
        ({"workers": 0}, "workers must be above zero"),
    ],
)
def test_numbers_out_of_range(change: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        EvaluateConfig(**change)  # type: ignore[arg-type]


def test_arms_may_come_as_separate_words() -> None:
    config = EvaluateConfig(arms=("adam", "agent,adam-cosine"))
    assert [arm.name for arm in config.parsed_arms] == ["adam", "agent", "adam-cosine"]
