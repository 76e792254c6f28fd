"""What an episode does: the base schedule, decision times, actions, reward, and its end."""

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from lr_env.env import LayerwiseLREnv
from lr_env.instances import draw_instance
from lr_env.randomness import IsolatedTorchRandomness, torch_generator
from lr_env.reward import DIVERGED, LOWEST
from lr_env.schedules import SCHEDULES
from tests.toys import ToyTask


def make_env(**arguments) -> LayerwiseLREnv:
    return LayerwiseLREnv("toy", **{"num_decisions": 12, "steps_per_action": 2, **arguments})


def weights(env: LayerwiseLREnv) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in env._loop.model.parameters()]


def idle(env: LayerwiseLREnv) -> np.ndarray:
    return np.zeros(len(env.layer_names), np.float32)


def run_idle(env: LayerwiseLREnv, seed: int) -> list[dict]:
    env.reset(seed=seed)
    infos, terminated = [], False
    while not terminated:
        _, _, terminated, _, info = env.step(idle(env))
        infos.append(info)
    return infos


def train_plainly(
    seed: int, steps: int, base_lr: float, schedule: str, optimizer: str, **task_arguments
) -> nn.Module:
    """The same training as a plain PyTorch loop, with none of the library's machinery."""
    instance = draw_instance(gymnasium.utils.seeding.np_random(seed)[0], base_lr)
    task = ToyTask(instance.seed, **task_arguments)
    with IsolatedTorchRandomness(instance.seed, "model").use():
        model = task.build_model()
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop,
            "adamw": torch.optim.AdamW, "adadelta": torch.optim.Adadelta}[optimizer]  # fmt: skip
    arguments = {"momentum": 0.9} if optimizer == "sgd" else {}
    opt = kind(model.parameters(), lr=base_lr, **arguments)
    generator = torch_generator(instance.seed, "batches")
    done = 0
    while done < steps:
        for x, y in task.batches("train", task.batch_size, generator):
            if done == steps:
                break
            opt.param_groups[0]["lr"] = base_lr * SCHEDULES[schedule](done, steps)
            opt.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            opt.step()
            done += 1
    return model


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", "adadelta"])
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_zero_actions_are_the_base_schedule_bit_for_bit(optimizer: str, schedule: str) -> None:
    env = make_env(optimizer=optimizer, base_schedule=schedule, base_lr=0.01)
    run_idle(env, seed=3)
    plain = train_plainly(3, env.total_steps, 0.01, schedule, optimizer)
    for ours, theirs in zip(env._loop.model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("architecture", ["layernorm", "batchnorm"])
def test_zero_actions_are_plain_training_with_normalisation(architecture: str) -> None:
    env = make_env(task_arguments={"architecture": architecture}, base_lr=0.01)
    run_idle(env, seed=5)
    plain = train_plainly(5, env.total_steps, 0.01, "constant", "adam", architecture=architecture)
    for ours, theirs in zip(env._loop.model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("z_init", ["zero", "cautious", "calibrated", "matched"])
def test_reset_moves_no_weight_and_leaves_the_optimizer_fresh(z_init: str) -> None:
    env = make_env(z_init=z_init)
    env.reset(seed=9)
    seed = draw_instance(gymnasium.utils.seeding.np_random(9)[0], 1e-3).seed
    with IsolatedTorchRandomness(seed, "model").use():
        fresh = ToyTask(seed).build_model()
    for ours, theirs in zip(env._loop.model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.grad is not None
        assert ours.grad.abs().sum() > 0
    assert not env._loop.optimizer.state


def test_the_first_step_applies_the_gradient_that_was_looked_at() -> None:
    env = make_env(optimizer="sgd", optimizer_arguments={"momentum": 0.0}, base_lr=0.5)
    env.reset(seed=2)
    before = weights(env)
    gradients = [p.grad.clone() for p in env._loop.model.parameters()]
    env.step(np.array([0.5, -0.5], np.float32))  # one octave up, one down: max_step is 2
    rates = [1.0, 1.0, 0.25, 0.25]
    for now, old, gradient, rate in zip(weights(env), before, gradients, rates, strict=True):
        torch.testing.assert_close(now, old - rate * gradient)


def test_decisions_are_dense_at_the_start_and_the_budget_is_met_exactly() -> None:
    env = make_env(total_steps=21, steps_per_action=8)
    steps = [info["step"] for info in run_idle(env, seed=0)]
    assert steps == [1, 2, 4, 8, 16, 21]


def test_num_decisions_is_the_length_of_an_episode() -> None:
    for interval in (1, 3, 4):
        env = make_env(num_decisions=9, steps_per_action=interval)
        infos = run_idle(env, seed=0)
        assert len(infos) == 9
        assert infos[-1]["step"] == env.total_steps


def test_the_end_of_the_budget_is_terminated_in_python_booleans() -> None:
    env = make_env(num_decisions=3)
    env.reset(seed=1)
    outcomes = [env.step(idle(env)) for _ in range(3)]
    assert [outcome[2] for outcome in outcomes] == [False, False, True]
    for _, gained, terminated, truncated, _ in outcomes:
        assert type(gained) is float
        assert type(terminated) is bool
        assert truncated is False
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(idle(env))


@pytest.mark.parametrize("reward_kind", ["potential", "progress"])
@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_rewards_telescope_to_the_final_log_loss(reward_kind: str, gamma: float) -> None:
    env = make_env(reward_kind=reward_kind, gamma=gamma, base_lr=0.01)
    _, start = env.reset(seed=6)
    rewards, terminated = [], False
    while not terminated:
        _, gained, terminated, _, info = env.step(idle(env))
        rewards.append(gained)
    final = -np.log(info["validation_loss"] / start["validation_loss"])
    if reward_kind == "progress":
        assert sum(rewards) == pytest.approx(final, abs=1e-9)
    else:
        discounted = sum(gamma**index * gained for index, gained in enumerate(rewards))
        assert discounted == pytest.approx(gamma ** len(rewards) * final, abs=1e-9)


def test_divergence_ends_the_episode_below_every_finite_outcome() -> None:
    env = make_env(optimizer="sgd", base_lr=1e6, reward_kind="progress", num_decisions=60)
    env.reset(seed=0)
    rewards, terminated = [], False
    while not terminated:
        observation, gained, terminated, truncated, info = env.step(
            np.ones(len(env.layer_names), np.float32)
        )
        rewards.append(gained)
    assert info["diverged"]
    assert not truncated
    assert info["step"] < env.total_steps
    assert sum(rewards) == pytest.approx(DIVERGED)
    assert sum(rewards) < LOWEST
    assert np.isfinite(observation).all()
    assert all(np.isfinite(value).all() for key, value in info.items() if key != "diverged")
    assert not env.reset(seed=0)[1]["diverged"]


def test_discrete_actions_mean_their_continuous_counterparts() -> None:
    continuous, discrete = make_env(), make_env(discrete=True)
    continuous.reset(seed=8)
    discrete.reset(seed=8)
    for number, value in enumerate([-1.0, -0.25, 0.0, 0.25, 1.0]):
        expected = continuous.step(np.array([value, 0.0], np.float32))
        got = discrete.step(np.array([number, 2]))
        np.testing.assert_array_equal(got[0], expected[0])
        assert got[1] == expected[1]


def test_rates_stay_inside_the_envelope() -> None:
    env = make_env(z_max=3.0, base_lr=1e-4)
    env.reset(seed=1)
    for _ in range(6):
        info = env.step(np.array([1.0, -1.0], np.float32))[4]
    np.testing.assert_allclose(info["learning_rates"], [8e-4, 1.25e-5])


def test_residual_actions_set_the_scale_anew() -> None:
    env = make_env(action_mode="residual", z_max=4.0, base_lr=1e-4)
    env.reset(seed=1)
    env.step(np.array([1.0, 1.0], np.float32))
    info = env.step(np.array([0.5, -0.25], np.float32))[4]
    np.testing.assert_allclose(info["learning_rates"], [4e-4, 5e-5])


# After twenty updates momentum 0.9 is filled to 1 - 0.9^20, and RMSprop's average to 1 - 0.99^20.
FIRST_OVER_LATER = {
    "adam": 1.0,
    "sgd": 0.1 / (1.0 - 0.9**20),
    "rmsprop": ((1.0 - 0.99**20) / (1.0 - 0.99)) ** 0.5,
}


@pytest.mark.parametrize("optimizer", FIRST_OVER_LATER)
def test_a_cautious_start_changes_every_layer_by_the_same_small_share(optimizer: str) -> None:
    env = make_env(z_init="cautious", base_lr=0.1, z_max=20.0, optimizer=optimizer)
    env.reset(seed=1)
    before = weights(env)
    env.step(idle(env))
    for index in (0, 2):
        old = torch.cat([before[index].flatten(), before[index + 1]])
        new = torch.cat([weights(env)[index].flatten(), weights(env)[index + 1]])
        change = (new - old)[new != old].square().mean().sqrt()
        expected = 3e-4 * FIRST_OVER_LATER[optimizer]
        assert float(change / old.square().mean().sqrt()) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("z_init", ["cautious", "calibrated", "matched"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_what_is_seen_and_done_from_a_start_does_not_depend_on_the_base_rate(
    z_init: str, optimizer: str
) -> None:
    found = []
    for base_lr in (1e-5, 1e-3, 1e-1):
        env = make_env(
            z_init=z_init, base_lr=base_lr, z_max=20.0, optimizer=optimizer, dtype=torch.float64
        )
        seen = [env.reset(seed=3)[0]]
        for turn in range(8):
            observation, *_, info = env.step(np.sin(turn + np.arange(len(seen[0]))))
            seen.append(observation)
        found.append((np.stack(seen), info["learning_rates"], info["train_loss"]))
    for other in found[1:]:
        for one, its in zip(found[0], other, strict=True):
            np.testing.assert_allclose(one, its, rtol=1e-5, atol=1e-5)


def test_base_rates_are_drawn_from_the_range_log_uniformly() -> None:
    env = make_env(base_lr=(1e-5, 1e-1), num_decisions=1)
    rates = np.log10([env.reset(seed=seed)[1]["base_lr"] for seed in range(60)])
    assert rates.min() > -5.0
    assert rates.max() < -1.0
    assert abs(rates.mean() + 3.0) < 0.5


def test_the_validation_loss_is_observed_only_where_it_was_asked_for() -> None:
    seen, unseen = make_env(observe_validation=True), make_env()
    first, second = seen.reset(seed=1)[0], unseen.reset(seed=1)[0]
    different = np.flatnonzero((first != second).any(0))
    from lr_env.observation import FEATURES

    assert [FEATURES[index] for index in different] == ["validation_seen"]


def test_test_data_is_never_touched() -> None:
    class Guarded(ToyTask):
        def batches(self, split, batch_size, generator=None):
            assert split != "test"
            return super().batches(split, batch_size, generator)

        def tensors(self, split):
            assert split != "test"
            return super().tensors(split)

    run_idle(LayerwiseLREnv(Guarded, num_decisions=4), seed=0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_an_episode_is_the_same_where_no_gradients_are_kept(mode) -> None:
    losses = [info["validation_loss"] for info in run_idle(make_env(), 3)]
    with mode():
        assert [info["validation_loss"] for info in run_idle(make_env(), 3)] == losses
