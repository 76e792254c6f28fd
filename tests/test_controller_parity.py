"""The controller in a plain loop and the environment set the same rates on the same training."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from lr_env.action import Envelope
from lr_env.controller import LRController
from lr_env.env import LayerwiseLREnv
from lr_env.instances import draw_instance
from lr_env.policy import FrozenPolicy
from lr_env.randomness import IsolatedTorchRandomness, torch_generator
from lr_env.schedules import cosine
from tests.toys import HalfPretrainedTask, ToyTask, make_policy

STEPS, INTERVAL, SEED = 45, 3, 13
BASE = 0.02


@dataclass
class Plain:
    """What a plain loop under the controller recorded."""

    rates: list[list[float]]
    controller: LRController
    model: nn.Module


def run_env(policy: FrozenPolicy, **arguments) -> tuple[list[list[float]], LayerwiseLREnv]:
    envelope = policy.envelope
    env = LayerwiseLREnv(
        **{"task": ToyTask, "base_lr": BASE, **arguments},
        total_steps=STEPS,
        steps_per_action=INTERVAL,
        z_max=envelope.z_max,
        max_step=envelope.max_step,
        z_init=envelope.z_init,
        ceiling=envelope.ceiling,
        envelope_schedule=envelope.schedule,
        reach=envelope.reach,
        leak=envelope.leak,
        pretrained_reach=envelope.pretrained_reach,
        shared_action=envelope.shared,
        action_mode=envelope.mode,
    )
    observation, _ = env.reset(seed=SEED)
    rates, terminated = [], False
    while not terminated:
        action = policy.act(torch.from_numpy(observation)).numpy()
        observation, _, terminated, _, info = env.step(action)
        rates.append(info["learning_rates"].tolist())
    return rates[:-1], env


def run_plainly(
    policy: FrozenPolicy,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    *,
    architecture: str = "mlp",
    kind: type[ToyTask] = ToyTask,
    make_scheduler=None,
    before_step: Callable[[nn.Module], None] = lambda model: None,
) -> Plain:
    """Train as a user would; `rates` are those seen at every decision, before it is taken."""
    instance = draw_instance(gymnasium.utils.seeding.np_random(SEED)[0], BASE)
    task = kind(instance.seed, architecture)
    with IsolatedTorchRandomness(instance.seed, "model").use():
        model = task.build_model()
    optimizer = make_optimizer(model)
    scheduler = make_scheduler(optimizer) if make_scheduler else None
    controller = LRController(
        model,
        optimizer,
        policy,
        total_steps=STEPS,
        steps_per_action=INTERVAL,
        steps_per_epoch=task.steps_per_epoch(task.batch_size),
        batch_size=task.batch_size,
        pretrained=task.is_pretrained,
    )
    generator = torch_generator(instance.seed, "batches")
    rates: list[list[float]] = []
    done, decisions = 0, 0
    while done < STEPS:
        for x, y in task.batches("train", task.batch_size, generator):
            if done == STEPS:
                break
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            before_step(model)
            controller.observe(loss)
            seen = list(controller.learning_rates.values())
            optimizer.step()
            if len(controller.history) > decisions:
                decisions = len(controller.history)
                rates.append(seen)
            optimizer.zero_grad()
            if scheduler:
                scheduler.step()
            done += 1
    return Plain(rates[1:], controller, model)


def assert_same(env_rates, env: LayerwiseLREnv, plain: Plain) -> None:
    assert env_rates == plain.rates
    assert np.ptp(np.log(env_rates)) > 0.1, "the policy moved nothing: this would prove nothing"
    for ours, theirs in zip(env._loop.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


OPTIMIZERS = {
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=BASE),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=BASE),
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=BASE, momentum=0.9),
    "rmsprop": lambda model: torch.optim.RMSprop(model.parameters(), lr=BASE),
    "adagrad": lambda model: torch.optim.Adagrad(model.parameters(), lr=BASE),
}


@pytest.mark.parametrize("architecture", ["mlp", "layernorm", "batchnorm"])
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_same_rates_and_weights(optimizer: str, architecture: str) -> None:
    policy = make_policy()
    rates, env = run_env(policy, optimizer=optimizer, task=lambda s: ToyTask(s, architecture))
    plain = run_plainly(policy, OPTIMIZERS[optimizer], architecture=architecture)
    assert_same(rates, env, plain)


def test_same_rates_under_the_ceiling_of_a_pretrained_layer() -> None:
    policy = make_policy(envelope=Envelope(ceiling=0.15))
    rates, env = run_env(policy, task=HalfPretrainedTask)
    assert_same(rates, env, run_plainly(policy, OPTIMIZERS["adam"], kind=HalfPretrainedTask))
    free, _ = run_env(policy, task=ToyTask)
    assert max(row[0] for row in rates) < max(row[0] for row in free)


def test_same_rates_where_no_action_moves_a_pretrained_layer() -> None:
    own = Envelope(z_init="calibrated", ceiling=None, pretrained_reach=0.0)
    policy = make_policy(envelope=own)
    rates, env = run_env(policy, task=HalfPretrainedTask)
    assert_same(rates, env, run_plainly(policy, OPTIMIZERS["adam"], kind=HalfPretrainedTask))
    held = [layer.pretrained for layer in env._instruments.layers]
    assert [len(set(column)) == 1 for column in zip(*rates, strict=True)] == held


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("mode", ["incremental", "residual"])
@pytest.mark.parametrize("z_init", ["zero", "cautious", "calibrated", "matched"])
def test_same_rates_for_every_kind_of_policy(discrete: bool, mode: str, z_init: str) -> None:
    envelope = Envelope(8.0, mode, 0.5, z_init, ceiling=None)
    if z_init in ("calibrated", "matched"):
        envelope = replace(envelope, schedule="linear", reach=1.0, leak=0.2, shared=True)
    policy = make_policy(discrete=discrete, seed=5, envelope=envelope)
    rates, env = run_env(policy)
    assert_same(rates, env, run_plainly(policy, OPTIMIZERS["adam"]))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_same_rates_under_a_scheduler(optimizer: str) -> None:
    policy = make_policy()
    rates, env = run_env(policy, optimizer=optimizer, base_schedule="cosine")

    def scheduler(opt):
        return torch.optim.lr_scheduler.LambdaLR(opt, lambda step: cosine(step, STEPS))

    plain = run_plainly(policy, OPTIMIZERS[optimizer], make_scheduler=scheduler)
    assert_same(rates, env, plain)


def test_a_recursive_scheduler_never_compounds_the_scale() -> None:
    def scheduler(opt):
        return torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=STEPS)

    policy = make_policy()
    rates, _ = run_env(policy, base_schedule="cosine")
    plain = run_plainly(policy, OPTIMIZERS["adam"], make_scheduler=scheduler)
    np.testing.assert_allclose(plain.rates, rates, rtol=1e-4)

    alone = torch.optim.Adam(nn.Linear(2, 2).parameters(), lr=BASE)
    undisturbed = scheduler(alone)
    expected = {}
    for step in range(STEPS):
        expected[step] = alone.param_groups[0]["lr"]
        alone.step()
        undisturbed.step()
    for decision in plain.controller.history:
        assert decision.base_lr == expected[decision.step]


def test_clipped_gradients_are_what_is_seen_and_applied() -> None:
    class Clipping(ToyTask):
        def build_model(self) -> nn.Module:
            model = super().build_model()
            for parameter in model.parameters():
                parameter.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))
            return model

    policy = make_policy()
    rates, env = run_env(policy, task=Clipping)
    plain = run_plainly(
        policy,
        OPTIMIZERS["adam"],
        before_step=lambda model: nn.utils.clip_grad_value_(model.parameters(), 0.01),
    )
    assert_same(rates, env, plain)
    unclipped = run_plainly(policy, OPTIMIZERS["adam"])
    assert unclipped.rates != plain.rates


def test_groups_split_by_the_owner_change_nothing() -> None:
    def biases_apart(model: nn.Module) -> torch.optim.Optimizer:
        named = list(model.named_parameters())
        groups = [[p for n, p in named if ("bias" in n) == wanted] for wanted in (True, False)]
        return torch.optim.Adam([{"params": group} for group in groups], lr=BASE)

    policy = make_policy()
    rates, env = run_env(policy)
    assert_same(rates, env, run_plainly(policy, biases_apart))
