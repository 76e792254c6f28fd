"""What the vector environment cannot use is refused in one sentence."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from lr_env.errors import InvalidArgumentError, LrEnvError, ModelError, UnknownNameError
from lr_env.vector_env import LayerwiseLRVectorEnv
from tests.test_env_arguments import assert_one_sentence
from tests.toys import ToyTask, build_toy_model


class OwnLoss(ToyTask):
    name = "own"

    def loss(self, model, batch):
        return super().loss(model, batch) * 2


class Frozen(ToyTask):
    def build_model(self):
        model = build_toy_model()
        model[0].requires_grad_(False)
        return model


MISTAKES = [
    ({"num_envs": 0}, InvalidArgumentError, "at least 1"),
    ({"num_envs": 2.0}, InvalidArgumentError, "num_envs must be a whole number"),
    ({"workers": "2"}, InvalidArgumentError, "workers must be a whole number"),
    ({"num_envs": 4, "workers": 1.5}, InvalidArgumentError, "workers must be a whole number"),
    ({"task": "tyo"}, UnknownNameError, "did you mean 'toy'"),
    ({"task": OwnLoss}, InvalidArgumentError, "cannot be stacked"),
    ({"task": Frozen}, ModelError, "frozen"),
    ({"optimizer": "adagrad"}, UnknownNameError, "stacked optimizer"),
    ({"optimizer": torch.optim.Adam}, InvalidArgumentError, "by name"),
    ({"optimizer_arguments": {"amsgrad": True}}, InvalidArgumentError, "amsgrad"),
    ({"batch_size": 0}, InvalidArgumentError, "batch_size"),
    ({"dtype": torch.int64}, InvalidArgumentError, "dtype"),
    ({"device": "cuda:99"}, InvalidArgumentError, "device"),
    ({"gamma": 2.0}, InvalidArgumentError, "gamma"),
    ({"render_mode": "ansi"}, InvalidArgumentError, "draws nothing"),
    ({"autoreset_mode": "SameSte"}, UnknownNameError, "did you mean 'SameStep'"),
]


@pytest.mark.parametrize(("arguments", "kind", "says"), MISTAKES)
def test_unusable_arguments(arguments: dict[str, Any], kind: type[LrEnvError], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        LayerwiseLRVectorEnv(**{"task": "toy", **arguments})
    assert_one_sentence(caught.value)


@pytest.mark.parametrize("action", [
    np.zeros(4), np.zeros((2, 3)), np.full((2, 2), np.nan), "left",
])  # fmt: skip
def test_unusable_actions(action: Any) -> None:
    envs = LayerwiseLRVectorEnv(2, "toy")
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(np.zeros((2, 2)))
    envs.reset(seed=0)
    with pytest.raises(InvalidArgumentError) as caught:
        envs.step(action)
    assert_one_sentence(caught.value)


@pytest.mark.parametrize(("arguments", "says"), [
    ({"seed": -1}, "seed"), ({"seed": [1]}, "seed"), ({"seed": [1, -2]}, "seed"),
    ({"options": {"reset_mask": [True, False]}}, "reset_mask"),
    ({"options": {"reset_mask": np.zeros(2, bool)}}, "reset_mask"),
    ({"options": {"reset_mask": np.ones(3, bool)}}, "reset_mask"),
])  # fmt: skip
def test_unusable_resets(arguments: dict[str, Any], says: str) -> None:
    envs = LayerwiseLRVectorEnv(2, "toy")
    with pytest.raises(InvalidArgumentError, match=says) as caught:
        envs.reset(**arguments)
    assert_one_sentence(caught.value)


class Narrowing(ToyTask):
    def build_model(self):
        width = 4 + self.seed % 2
        return torch.nn.Sequential(torch.nn.Linear(6, width), torch.nn.Linear(width, 3))


def test_a_model_that_changes_with_the_seed_is_refused() -> None:
    envs = LayerwiseLRVectorEnv(8, Narrowing)
    with pytest.raises(ModelError, match="task_arguments") as caught:
        envs.reset(seed=0)
    assert_one_sentence(caught.value)
