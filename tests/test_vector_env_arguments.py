"""What the vector environment cannot use is refused in one sentence."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from lr_env.errors import (
    InvalidArgumentError,
    LrEnvError,
    ModelError,
    NonFiniteLossError,
    UnknownNameError,
)
from lr_env.vector_env import LayerwiseLRVectorEnv
from tests.test_env_arguments import assert_one_sentence
from tests.toys import CLASSES, INPUTS, ToyTask, build_toy_model


class OwnLoss(ToyTask):
    name = "own"

    def loss(self, model, batch):
        return super().loss(model, batch) * 2


class Weighted(ToyTask):
    """Weighs classes by how often they are in the seed's own samples."""

    name = "weighted"

    def loss_from_outputs(self, outputs, targets):
        weight = torch.bincount(self.tensors("train")[1], minlength=CLASSES).double()
        return nn.functional.cross_entropy(outputs, targets, weight.to(outputs.dtype))


class Featured(ToyTask):
    """Its model has random features, which are neither parameters nor buffers."""

    name = "featured"

    def build_model(self):
        class Features(nn.Module):
            def __init__(self):
                super().__init__()
                self.directions = torch.randn(INPUTS, INPUTS)

            def forward(self, x):
                return torch.relu(x @ self.directions.to(x.dtype))

        return nn.Sequential(Features(), build_toy_model())


class Recurrent(ToyTask):
    name = "recurrent"

    def build_model(self):
        class Last(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.head = nn.LSTM(1, 4, batch_first=True), nn.Linear(4, CLASSES)

            def forward(self, x):
                return self.head(self.body(x.unsqueeze(-1))[0][:, -1])

        return Last()


class Averaged(ToyTask):
    """vmap runs it in eval mode alone: its momentum is a number that is read from a tensor."""

    name = "averaged"

    def build_model(self):
        return nn.Sequential(nn.BatchNorm1d(INPUTS, momentum=None), build_toy_model())


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
    ({"task": Weighted}, InvalidArgumentError, "samples, parameters or buffers"),
    ({"task": Featured}, InvalidArgumentError, "samples, parameters or buffers"),
    ({"task": Recurrent}, InvalidArgumentError, r"vmap cannot run its model \(.*lstm"),
    ({"task": Averaged}, InvalidArgumentError, "vmap cannot run its model"),
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
    class Late(Narrowing):
        def build_model(self):
            return super().build_model() if self.seed > 1 else build_toy_model()

    with pytest.raises(ModelError, match="task_arguments") as caught:
        LayerwiseLRVectorEnv(8, Narrowing)
    assert_one_sentence(caught.value)
    envs = LayerwiseLRVectorEnv(8, Late)
    with pytest.raises(ModelError, match="task_arguments"):
        envs.reset(seed=0)


def test_what_draws_at_random_when_evaluated_is_stacked_all_the_same() -> None:
    class Sampled(ToyTask):
        name = "sampled"

        def build_model(self):
            class Dropped(nn.Module):
                def forward(self, x):
                    return nn.functional.dropout(x, 0.3, training=True)

            return nn.Sequential(Dropped(), build_toy_model())

    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        envs = LayerwiseLRVectorEnv(2, Sampled, num_decisions=2)
        state = torch.get_rng_state()
        losses.append(envs.reset(seed=0)[1]["validation_loss"].tolist())
        assert torch.equal(torch.get_rng_state(), state)
    assert losses[0] == losses[1]


def test_lanes_that_failed_to_begin_are_not_stepped() -> None:
    class Broken(ToyTask):
        name = "broken"

        def __init__(self, seed):
            super().__init__(seed)
            if seed > 1:
                self._splits["train"] = (
                    self._splits["train"][0] * torch.nan,
                    self._splits["train"][1],
                )

    envs = LayerwiseLRVectorEnv(2, Broken)
    with pytest.raises(NonFiniteLossError):
        envs.reset(seed=3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(np.zeros((2, 2)))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_trainings_are_the_same_where_no_gradients_are_kept(mode: Any) -> None:
    def losses() -> list[float]:
        envs = LayerwiseLRVectorEnv(2, "toy", num_decisions=3)
        envs.reset(seed=0)
        for _ in range(2):
            *_, infos = envs.step(np.zeros((2, 2)))
        return infos["validation_loss"].tolist()

    expected = losses()
    with mode():
        assert losses() == expected
