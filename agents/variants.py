"""What an ablation changes about the meta-training, one thing at a time."""

from __future__ import annotations

from typing import Any

from agents.config import PPOConfig, TrainConfig
from agents.features import FEATURE_GROUPS

REFERENCE = "reference"
OFF = TrainConfig().features_off
DECLARED = "every layer's own action"
"""The test declared in advance (docs/meta-training.md): this one against the reference."""
VARIANTS: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    DECLARED: {"shared_action": False},
    "one action for all layers, that sees no layer": {
        "features_off": (*OFF, "layer"), "shared_noise": 1.0,
    },
    "residual actions": {"action_mode": "residual"},
    "potential-based reward": {"reward": "potential"},
    "constant base schedules": {"schedules": "constant"},
    "no fine-tuning": {"fine_tuning": False},
    "nothing learned by heart": {"by_heart": False},
    "no rehearsal": {"rehearsal": False},
    "what is memorised shows its validation loss": {"by_heart_seen": 1.0},
    **{
        f"without {group}": {"features_off": (*OFF, group)}
        for group in FEATURE_GROUPS
        if group not in (*OFF, "layer")
    },
    "the length of trainings in sight": {"features_off": ()},
    "a start for the budget alone": {"start": "calibrated"},
    "cautious start, without its schedule, reach and leak": {"start": "cautious"},
    "actions on pretrained layers": {"pretrained_reach": 3.0},
    "no ceiling": {"ceiling": 0.0},
    "the last weights": {"averaging": 0.0},
    "one stack in ten new at a time": {"renewed": 1},
    "no twins": {"twins": 1},
    "white noise": {"ppo": PPOConfig(noise_memory=0.0)},
    "no pull towards the untrained policy": {"ppo": PPOConfig(prior_coef=0.0)},
    "an untrained policy that never acts": {"ppo": PPOConfig(plateau_step=0.0)},
    "a third of the pull": {"ppo": PPOConfig(prior_coef=0.1)},
    "clip range 0.2": {"ppo": PPOConfig(clip_range=0.2)},
    "clip range 0.4": {"ppo": PPOConfig(clip_range=0.4)},
    "the plan's settings": {"preset": "plan"},
    "discount 0.99": {"gamma": 0.99},
    "learning rate 1e-4": {"learning_rate": 1e-4},
    "a warm start": {"branches": 120},
}  # fmt: skip
"""What is changed, by name, in the order in which they are run."""

EXPORT_ALONE = ("shared_action", "ceiling")
"""Settings of the policy that is exported, which its meta-training does not know of."""


def same_trainings(changes: dict[str, Any]) -> bool:
    """Return whether a variant is the reference's own meta-training, exported otherwise."""
    return set(changes) <= set(EXPORT_ALONE)


def variant_config(name: str, **common: Any) -> TrainConfig:
    """Return the settings of a variant, with what all of them have in common."""
    return TrainConfig(**{**common, **VARIANTS[name]})
