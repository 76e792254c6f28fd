"""Presets of meta-training, and what a run's record says of them."""

import pytest

from agents.ablation import AblationConfig
from agents.algorithms import minibatch_size
from agents.config import DQNConfig, PPOConfig, TrainConfig
from lr_env.errors import InvalidArgumentError


def test_the_plan_is_one_flag_away_and_what_is_given_wins() -> None:
    own, plan = TrainConfig(), TrainConfig(preset="plan", gamma=0.9)
    assert (own.resolved_gamma, own.resolved_learning_rate) == (0.999, 5e-4)
    assert TrainConfig(algo="dqn").resolved_learning_rate == 5e-4
    assert (plan.resolved_gamma, plan.resolved_learning_rate) == (0.9, 1e-4)


def test_layers_act_apart_where_branches_tell_them_apart() -> None:
    for algo, branches, shared in (("ppo", 0, True), ("ppo", 3, False), ("dqn", 3, True)):
        own = TrainConfig(algo=algo, branches=branches)
        assert own.resolved_shared_action is shared
        assert own.resolved_branches == (0 if shared else 3)
    assert TrainConfig(branches=3, shared_action=True).resolved_shared_action
    assert not TrainConfig(shared_action=False).resolved_shared_action
    for other in ({"start": "cautious"}, {"action_mode": "residual"}):
        with pytest.raises(InvalidArgumentError, match="a start with a leak"):
            TrainConfig(branches=1, **other)


def test_a_record_has_the_values_and_gives_the_run_again() -> None:
    config = TrainConfig(preset="plan")
    record = config.to_dict()
    assert (record["gamma"], record["learning_rate"]) == (0.99, 1e-4)
    assert TrainConfig.from_dict(record).to_dict() == record


@pytest.mark.parametrize(
    "own",
    [
        {"ppo": PPOConfig(n_steps=0)},
        {"ppo": PPOConfig(n_epochs=0)},
        {"dqn": DQNConfig(batch_size=0)},
    ],
)
def test_counts_of_nothing_are_refused_in_a_sentence(own) -> None:
    with pytest.raises(InvalidArgumentError, match="at least 1, not 0"):
        TrainConfig(**own)


@pytest.mark.parametrize(
    "own",
    [
        {"ppo": PPOConfig(gae_lambda=2.0)}, {"ppo": PPOConfig(log_std_init=float("nan"))},
        {"ppo": PPOConfig(noise_memory=1.0)}, {"dqn": DQNConfig(epsilon=1.5)},
        {"shared_noise": 5.0}, {"validation_seen": -1.0}, {"averaging": 1.0}, {"twins": 0},
        {"learning_rate": -1.0}, {"learning_rate": float("nan")}, {"minutes": float("inf")},
        {"checkpoint_seconds": float("inf")}, {"gamma": 1.5}, {"ppo": PPOConfig(prior_coef=-1.0)},
    ],
)  # fmt: skip
def test_shares_out_of_range_are_refused_in_a_sentence(own) -> None:
    with pytest.raises(InvalidArgumentError, match="must be"):
        TrainConfig(**own)


def test_more_minibatches_than_decisions_and_layers_without_units_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="ask for fewer"):
        minibatch_size(PPOConfig(n_steps=2, minibatches=40), 10)
    with pytest.raises(InvalidArgumentError, match="widths"):
        TrainConfig(hidden=(64, 0))


@pytest.mark.parametrize("seeds", [(), (42, 42)])
def test_an_ablation_has_seeds_each_once(seeds: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match="seeds"):
        AblationConfig(seeds=seeds)


@pytest.mark.parametrize("name", ["../up", "team/ppo", "", ".hidden", "a" * 65])
def test_a_name_that_is_a_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="name is of letters"):
        TrainConfig(name=name)
