"""A mistake in the environment's arguments or actions is one sentence that names the remedy."""

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from lr_env.env import LayerwiseLREnv
from lr_env.errors import (
    InvalidArgumentError,
    LrEnvError,
    ModelError,
    NonFiniteLossError,
    UnknownNameError,
)
from tests.toys import ToyTask

MISTAKES = [
    ({"task": "tyo"}, UnknownNameError, "did you mean 'toy'"),
    ({"task": 3}, InvalidArgumentError, "registered name"),
    ({"task": lambda seed: None}, InvalidArgumentError, "NoneType"),
    ({"task_arguments": {"width": 3}}, InvalidArgumentError, "width"),
    ({"task": ToyTask, "task_arguments": {"seed": 3}}, InvalidArgumentError, "task_arguments"),
    ({"task_arguments": {"seed": 3}}, InvalidArgumentError, "hold no seed"),
    ({"optimizer": "adan"}, UnknownNameError, "optimizer"),
    ({"optimizer_arguments": {"nesterov": True}}, InvalidArgumentError, "nesterov"),
    (
        {"optimizer_arguments": {"fused": True, "foreach": True}},
        InvalidArgumentError,
        "`fused` and `foreach`",
    ),
    ({"base_lr": 0.0}, InvalidArgumentError, "base_lr"),
    ({"base_lr": float("nan")}, InvalidArgumentError, "base_lr"),
    ({"base_lr": (0.1, 0.01)}, InvalidArgumentError, "base_lr"),
    ({"base_lr": "0.1"}, InvalidArgumentError, "base_lr"),
    ({"base_lr": [0.1, 0.01]}, InvalidArgumentError, "base_lr"),
    ({"base_schedule": "cosin"}, UnknownNameError, "did you mean 'cosine'"),
    ({"base_schedule": 3}, InvalidArgumentError, "base_schedule"),
    ({"steps_per_action": 0}, InvalidArgumentError, "steps_per_action"),
    ({"num_decisions": 0}, InvalidArgumentError, "num_decisions"),
    ({"num_decisions": "20"}, InvalidArgumentError, "num_decisions must be a whole number"),
    ({"num_decisions": 20.0}, InvalidArgumentError, "num_decisions must be a whole number"),
    ({"total_steps": 0}, InvalidArgumentError, "total_steps"),
    ({"batch_size": 0}, InvalidArgumentError, "batch_size"),
    ({"action_mode": "relative"}, UnknownNameError, "action mode"),
    ({"z_max": -1.0}, InvalidArgumentError, "z_max"),
    ({"max_step": float("nan")}, InvalidArgumentError, "max_step"),
    ({"z_init": "one"}, UnknownNameError, "z_init"),
    ({"reward_kind": "potental"}, UnknownNameError, "did you mean 'potential'"),
    ({"gamma": "0.9"}, InvalidArgumentError, "gamma must be a number"),
    ({"gamma": 1.5}, InvalidArgumentError, "gamma"),
    ({"validation_samples": 0}, InvalidArgumentError, "validation_samples"),
    ({"dtype": torch.int64}, InvalidArgumentError, "dtype"),
    ({"device": "gpu"}, InvalidArgumentError, "'cuda' or 'cuda:0' say, and not 'gpu'"),
    ({"device": "meta"}, InvalidArgumentError, "leave device out"),
    ({"device": "cuda:99"}, InvalidArgumentError, "install a build of PyTorch for your GPU"),
    ({"device": None}, InvalidArgumentError, "device"),
    ({"render_mode": "human"}, InvalidArgumentError, "render_mode"),
]


def assert_one_sentence(error: LrEnvError) -> None:
    text = str(error)
    assert "\n" not in text
    assert text.endswith((".", "?"))


@pytest.mark.parametrize(("arguments", "kind", "says"), MISTAKES)
def test_unusable_arguments(arguments, kind, says) -> None:
    with pytest.raises(kind, match=says) as caught:
        LayerwiseLREnv(**{"task": "toy", **arguments})
    assert_one_sentence(caught.value)


@pytest.mark.parametrize(
    ("discrete", "action"),
    [
        (False, np.zeros(3)),
        (False, np.zeros((2, 1))),
        (False, np.array([0.0, np.nan])),
        (False, 0.5),
        (True, np.array([0, 5])),
        (True, np.array([-1, 0])),
        (True, np.array([0.5, 1.0])),
    ],
)
def test_unusable_actions_change_nothing(discrete, action) -> None:
    env = LayerwiseLREnv("toy", discrete=discrete, num_decisions=4)
    env.reset(seed=0)
    with pytest.raises(InvalidArgumentError) as caught:
        env.step(action)
    assert_one_sentence(caught.value)
    twin = LayerwiseLREnv("toy", discrete=discrete, num_decisions=4)
    twin.reset(seed=0)
    sound = np.array([1, 1]) if discrete else np.array([0.3, 0.3])
    np.testing.assert_array_equal(env.step(sound)[0], twin.step(sound)[0])


def test_step_and_render_wait_for_reset() -> None:
    env = LayerwiseLREnv("toy", render_mode="ansi")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(2))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.render()


def test_a_model_with_nothing_to_train() -> None:
    class Frozen(ToyTask):
        def build_model(self) -> nn.Module:
            return super().build_model().requires_grad_(False)

    with pytest.raises(ModelError, match="no trainable parameters") as caught:
        LayerwiseLREnv(Frozen)
    assert_one_sentence(caught.value)


def test_layers_that_change_with_the_seed() -> None:
    def changing(seed: int) -> ToyTask:
        return ToyTask(seed, architecture="mlp" if seed == 0 else "layernorm")

    env = LayerwiseLREnv(changing)
    with pytest.raises(ModelError, match="changed its layers"):
        env.reset(seed=1)


def test_a_loss_that_is_not_finite_from_the_start() -> None:
    class Broken(ToyTask):
        def loss(self, model, batch):
            return super().loss(model, batch) * float("nan")

    with pytest.raises(NonFiniteLossError, match="before any update") as caught:
        LayerwiseLREnv(Broken)
    assert_one_sentence(caught.value)


def test_every_documented_form_of_task_is_accepted() -> None:
    for task in ("toy", ToyTask, ToyTask(5), lambda seed: ToyTask(seed)):
        env = LayerwiseLREnv(task, num_decisions=2)
        assert np.isfinite(env.reset(seed=0)[0]).all()
