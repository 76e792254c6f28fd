"""Stable-Baselines3's PPO and DQN, set up for slots."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from agents.actor_fit import check_room
from agents.advantages import TwinRolloutBuffer
from agents.config import PPOConfig, TrainConfig
from agents.exploration import CautiousDQNPolicy, SharedNoisePolicy, SlotDQN
from agents.slots import SlotVecEnv, noise_groups
from lr_env.errors import InvalidArgumentError
from lr_env.randomness import derive_seed


def build_algorithm(config: TrainConfig, env: SlotVecEnv) -> BaseAlgorithm:
    """Build the configured algorithm on `env`."""
    groups = noise_groups(env.trainings, config.shared_noise)
    noise_seed = derive_seed(config.seed, "exploration")
    seed = derive_seed(config.seed, "agent") % 2**31
    if config.algo == "ppo":
        if config.resolved_branches:
            # Said at once, and not after minutes of growing them.
            check_room(config.hidden)
        return _ppo(config, env, groups, noise_seed, seed)
    return _dqn(config, env, groups, noise_seed, seed)


def minibatch_size(own: PPOConfig, slots: int) -> int:
    """Return the size of PPO's mini-batches; where they do not divide, the last is smaller.

    Raises:
        InvalidArgumentError: there are too many of them.
    """
    size = math.ceil(own.n_steps * slots / own.minibatches)
    if size < 2:
        raise InvalidArgumentError(
            f"{own.minibatches} minibatches of a rollout of {own.n_steps * slots} slot decisions "
            "are less than two decisions each: ask for fewer."
        )
    return size


def _ppo(
    config: TrainConfig, env: SlotVecEnv, groups: NDArray[np.int64], noise_seed: int, seed: int
) -> PPO:
    own = config.ppo
    return PPO(
        SharedNoisePolicy,
        env,
        learning_rate=config.resolved_learning_rate,
        n_steps=own.n_steps,
        batch_size=minibatch_size(own, env.num_envs),
        n_epochs=own.n_epochs,
        gamma=config.resolved_gamma,
        gae_lambda=own.gae_lambda,
        clip_range=own.clip_range,
        # The policy's entropy is relative to what it began as (agents/exploration.py).
        ent_coef=own.prior_coef,
        rollout_buffer_class=TwinRolloutBuffer,
        rollout_buffer_kwargs={
            "stacks": env.stacks,
            "twins": env.twins,
            "gains": env.slot_gains,
        },
        policy_kwargs={
            "net_arch": list(config.hidden),
            "activation_fn": nn.Tanh,
            "log_std_init": own.log_std_init,
            "groups": groups,
            "noise_seed": noise_seed,
            "noise_memory": own.noise_memory,
            "plateau_step": own.plateau_step,
        },
        seed=seed,
        device="cpu",
    )


def _dqn(
    config: TrainConfig, env: SlotVecEnv, groups: NDArray[np.int64], noise_seed: int, seed: int
) -> SlotDQN:
    own = config.dqn
    model = SlotDQN(
        CautiousDQNPolicy,
        env,
        learning_rate=config.resolved_learning_rate,
        buffer_size=max(own.buffer_size, 4 * env.num_envs),
        # Before, SB3 would draw actions from the action space, slot by slot.
        learning_starts=0,
        batch_size=own.batch_size,
        gamma=config.resolved_gamma,
        train_freq=1,
        gradient_steps=own.gradient_steps,
        n_steps=own.n_step_return,
        # SB3 counts slots here.
        target_update_interval=own.target_update * env.num_envs,
        exploration_initial_eps=own.epsilon,
        exploration_final_eps=own.epsilon,
        policy_kwargs={
            "net_arch": list(config.hidden),
            "activation_fn": nn.Tanh,
            "margin": own.margin,
        },
        seed=seed,
        device="cpu",
    )
    model.exploration_rate = own.epsilon
    model.begin(groups, noise_seed, own.hold)
    return model
