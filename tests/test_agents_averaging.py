"""Averaged weights: what they are, and that lending them leaves the agent as it was."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from agents.averaging import WeightAverage
from agents.config import TrainConfig
from lr_env.errors import InvalidArgumentError


def _agent() -> Any:
    return SimpleNamespace(policy=nn.Linear(3, 2, dtype=torch.float64))


def _fill(agent: Any, value: float) -> None:
    for parameter in agent.policy.parameters():
        nn.init.constant_(parameter, value)


def _averaged(average: WeightAverage, agent: Any) -> float:
    with average.applied(agent):
        return agent.policy.weight[0, 0].item()


def _interrupt(average: WeightAverage, agent: Any) -> None:
    with average.applied(agent):
        assert agent.policy.weight[0, 0].item() == 1.0
        raise RuntimeError("interrupted")


def test_the_average_forgets_as_its_decay_says() -> None:
    agent, average = _agent(), WeightAverage(0.5)
    expected = 0.0
    for turn, value in enumerate([1.0, 2.0, -3.0, 5.0, 4.0, 4.0, 0.5]):
        _fill(agent, value)
        average.update(agent)
        keep = min(0.5, turn / (turn + 4.0))
        expected = keep * expected + (1.0 - keep) * value
        assert _averaged(average, agent) == pytest.approx(expected)


def test_no_decay_is_the_last_weights() -> None:
    agent, average = _agent(), WeightAverage(0.0)
    for value in (1.0, 7.0):
        _fill(agent, value)
        average.update(agent)
    assert _averaged(average, agent) == 7.0


def test_the_agent_gets_its_own_weights_back_even_after_an_error() -> None:
    agent, average = _agent(), WeightAverage(0.9)
    _fill(agent, 1.0)
    average.update(agent)
    _fill(agent, 1.0 / 3.0)
    own = agent.policy.weight.detach().clone()
    with pytest.raises(RuntimeError, match="interrupted"):
        _interrupt(average, agent)
    assert torch.equal(agent.policy.weight, own)


def test_an_average_goes_on_from_its_state(tmp_path: Path) -> None:
    agent, one, other = _agent(), WeightAverage(0.8), WeightAverage(0.8)
    for value in (1.0, 2.0, 3.0):
        _fill(agent, value)
        one.update(agent)
    torch.save(one.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    _fill(agent, -1.0)
    one.update(agent)
    other.update(agent)
    assert _averaged(one, agent) == _averaged(other, agent)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(InvalidArgumentError, match="averaging"):
        TrainConfig(averaging=decay)
