"""Gymnasium ids; string entry points, so that importing lr_env stays cheap."""

from __future__ import annotations

import gymnasium

ENV_IDS = {"lr_env/LayerwiseLR-v0": False, "lr_env/LayerwiseLRDiscrete-v0": True}


def register_envs() -> None:
    """Register the ids of `ENV_IDS`; doing it twice changes nothing."""
    for env_id, discrete in ENV_IDS.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(
                id=env_id,
                entry_point="lr_env.env:LayerwiseLREnv",
                vector_entry_point="lr_env.vector_env:LayerwiseLRVectorEnv",
                kwargs={"discrete": discrete},
            )
