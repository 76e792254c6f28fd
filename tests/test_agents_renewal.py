"""Stacks that give way to others: everything else goes on, and the agent fits the new mix."""

from dataclasses import replace

import numpy as np
import pytest

from agents.algorithms import build_algorithm
from agents.config import PPOConfig, TrainConfig
from agents.curriculum import plan_stack, plan_stacks
from agents.renewal import Renewal
from agents.slots import SlotVecEnv
from agents.workers import Workers

CONFIG = TrainConfig(
    stacks=2, slots=12, workers=2, fine_tuning=False, ppo=PPOConfig(n_steps=4, minibatches=2)
)


@pytest.fixture
def env(inline: None) -> SlotVecEnv:
    plans = plan_stacks(CONFIG)
    workers = Workers(plans, CONFIG.workers)
    yield SlotVecEnv(workers, plans, discrete=False)
    workers.close()


def _act(env: SlotVecEnv) -> np.ndarray:
    env.step_async(np.full(env.num_envs, 0.1, np.float32))
    observation, *_ = env.step_wait()
    return observation


def test_the_other_stack_goes_on_and_the_new_one_begins(env: SlotVecEnv) -> None:
    env.reset()
    for _ in range(3):
        before = _act(env)
    lanes = len(env.returns)
    returns, lengths = env.returns.copy(), env.lengths.copy()
    here, new = env.replace(0, plan_stack(CONFIG, 0, 1))
    assert here == slice(0, len(before) - (env.num_envs - len(new)))
    assert env.num_envs == len(new) + len(before) - here.stop
    assert env.stacks.tolist() == [0] * len(new) + [1] * (env.num_envs - len(new))
    kept = lanes - int((env.trainings[: len(new)].max() + 1) - (len(env.returns) - lanes))
    assert np.array_equal(env.returns[-kept:], returns[-kept:])
    assert np.array_equal(env.lengths[-kept:], lengths[-kept:])
    assert (env.lengths[:-kept] == 0).all()
    after = _act(env)
    assert after.shape == (env.num_envs, before.shape[1])
    assert (env.lengths[-kept:] == lengths[-kept:] + 1).all()


def test_twins_are_one_training_until_the_agent_acts(env: SlotVecEnv) -> None:
    for index in (0, 1):
        assert len(env.trainings[env.stacks == index]) % CONFIG.twins == 0
    observation = env.reset()
    numbers = env.twins()
    firsts = {number: np.flatnonzero(numbers == number)[0] for number in numbers}
    assert (np.unique(numbers, return_counts=True)[1] == CONFIG.twins).all()
    assert np.array_equal(observation, observation[[firsts[number] for number in numbers]])
    own = _act(env)
    assert np.array_equal(own, own[[firsts[number] for number in numbers]])
    env.step_async(np.linspace(-1.0, 1.0, env.num_envs, dtype=np.float32))
    moved, *_ = env.step_wait()
    assert not np.array_equal(moved, moved[[firsts[number] for number in numbers]])


def test_twins_of_a_new_stack_are_numbered_with_the_others(env: SlotVecEnv) -> None:
    env.reset()
    _act(env)
    env.replace(0, plan_stack(CONFIG, 0, 1))
    numbers, counts = np.unique(env.twins(), return_counts=True)
    assert set(counts) == {CONFIG.twins}
    assert len(numbers) * CONFIG.twins == env.num_envs


def test_trainings_at_other_decisions_are_no_twins(env: SlotVecEnv) -> None:
    env.reset()
    env.lengths[0] = 3
    _, counts = np.unique(env.twins(), return_counts=True)
    assert set(counts) == {1, CONFIG.twins - 1, CONFIG.twins}
    env.episodes[1] = 1
    _, counts = np.unique(env.twins(), return_counts=True)
    assert set(counts) == {1, CONFIG.twins - 2, CONFIG.twins}


def test_every_kind_stays_and_fine_tuning_gives_way_less_often() -> None:
    config = TrainConfig()
    first = plan_stacks(config)
    for index, plan in enumerate(first):
        later = plan_stack(config, index, 1)
        assert later.spec.architecture == plan.spec.architecture
        assert later.spec != plan.spec
        assert later.seed != plan.seed
    optimizers = {plan_stack(config, 0, turn).spec.optimizer for turn in range(10)}
    assert optimizers == {"adam", "adamw", "sgd", "rmsprop"}


def test_a_new_stack_goes_to_who_has_the_least_to_do_and_nothing_depends_on_it(
    inline: None,
) -> None:
    config = replace(CONFIG, stacks=3)
    plans = plan_stacks(config)
    seen = []
    for count in (1, 2):
        workers = Workers(plans, count)
        env = SlotVecEnv(workers, plans, discrete=False)
        own = [env.reset()]
        for turn in (1, 2):
            for index in range(3):
                env.replace(index, plan_stack(config, index, turn))
                own.append(_act(env))
                shares = workers._shares
                assert sorted(one for share in shares for one in share) == [0, 1, 2]
                here = next(share for share in shares if index in share)
                rest = sum(workers._costs[one] for one in here if one != index)
                others = [share for share in shares if share is not here]
                assert all(rest <= sum(workers._costs[one] for one in share) for share in others)
        seen.append(own)
        workers.close()
    assert all(np.array_equal(*pair) for pair in zip(*seen, strict=True))


def test_the_agent_fits_the_new_mix(env: SlotVecEnv) -> None:
    model = build_algorithm(CONFIG, env)
    renewal = Renewal(CONFIG, env, model)
    for rollouts in range(1, 4):
        renewal.after(rollouts)
        model.learn(4 * env.num_envs, reset_num_timesteps=rollouts == 1)
        assert len(model.rollout_buffer.observations) == 4 * env.num_envs
        assert np.array_equal(model.rollout_buffer.stacks, env.stacks)
    assert renewal.generations == [3, 3]


@pytest.mark.parametrize(("renewed", "given_way"), [(1, [1, 1]), (2, [2, 2]), (10, [2, 2])])
def test_as_many_stacks_give_way_as_were_asked_for(
    env: SlotVecEnv, renewed: int, given_way: list[int]
) -> None:
    config = replace(CONFIG, renewed=renewed)
    renewal = Renewal(config, env, build_algorithm(config, env))
    for rollouts in (0, 1, 2):
        renewal.after(rollouts)
    assert renewal.generations == given_way
