"""Features that an agent does not see have no say in its frozen policy."""

from pathlib import Path

import pytest
import torch

from agents.config import TrainConfig
from agents.curriculum import plan_stacks
from agents.features import FEATURE_GROUPS, seen_features
from agents.train import train
from lr_env.errors import UnknownNameError
from lr_env.observation import FEATURES
from lr_env.policy import FrozenPolicy
from tests.test_agents_train import SHORT_PPO, SMALL, _quick_scores  # noqa: F401


def test_every_group_names_features_that_there_are() -> None:
    for group, names in FEATURE_GROUPS.items():
        assert set(names) <= set(FEATURES)
        assert int(seen_features([group]).sum()) == len(FEATURES) - len(names)


@pytest.mark.usefixtures("inline")
def test_without_its_own_features_all_layers_act_as_one(tmp_path: Path) -> None:
    config = TrainConfig(
        **SMALL,
        ppo=SHORT_PPO,
        out=tmp_path,
        steps=600,
        features_off=("layer",),
        action_mode="residual",
    )  # type: ignore[arg-type]
    train(config)
    # The last and not the best, which may have learned less.
    (last,) = tmp_path.glob("*/policies/final")
    policy = FrozenPolicy.load(last)
    assert policy.envelope.mode == "residual"
    seen = torch.randn(1, 5, len(FEATURES))
    seen[..., seen_features(["layer"]) > 0] = 0.3
    actions = policy.act(seen)
    assert torch.allclose(actions, actions[:, :1].expand_as(actions), atol=1e-6)
    assert actions.abs().max() > 0


def test_without_fine_tuning_there_is_none_and_no_fewer_stacks() -> None:
    plans = plan_stacks(TrainConfig(fine_tuning=False, schedules="constant"))
    assert len(plans) == 10
    assert all(plan.spec.architecture != "finetune" for plan in plans)
    assert {plan.entry.settings.schedules for plan in plans} == {("constant",)}


@pytest.mark.parametrize(
    "wrong", [{"features_off": ("losses",)}, {"action_mode": "step"}, {"schedules": "none"}]
)
def test_names_of_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UnknownNameError):
        TrainConfig(**wrong)  # type: ignore[arg-type]
