"""Every optimizer of torch.optim that steps from gradients is accepted; others are named."""

import numpy as np
import pytest
import torch
from torch import nn

from lr_env.env import LayerwiseLREnv
from lr_env.errors import InvalidArgumentError, LrEnvError, ModelError, UnknownNameError
from lr_env.optimizers import build_optimizer, optimizer_names
from tests.toys import ToyTask

# LBFGS needs a closure, SparseAdam sparse gradients, Muon matrices alone.
SPECIAL = {"lbfgs", "sparseadam", "muon"}
ORDINARY = sorted(set(optimizer_names()) - SPECIAL)


class MatrixTask(ToyTask):
    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False))


class SparseTask(ToyTask):
    def build_model(self) -> nn.Module:
        class Bag(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.words = nn.Embedding(10, 3, sparse=True)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.words((x.abs() * 4).long().clamp(max=9)).sum(1)

        return Bag()


def train_a_little(task, optimizer, **arguments) -> list[float]:
    env = LayerwiseLREnv(task, optimizer=optimizer, num_decisions=8, z_init="cautious", **arguments)
    observation, _ = env.reset(seed=1)
    start = [p.detach().clone() for p in env._loop.model.parameters()]
    for _ in range(8):
        action = np.full(len(env.layer_names), 0.1, np.float32)
        observation, _, _, _, info = env.step(action)
        assert np.isfinite(observation).all()
    assert not info["diverged"]
    moved = [
        not torch.equal(a, b) for a, b in zip(start, env._loop.model.parameters(), strict=True)
    ]
    assert all(moved)
    return info["learning_rates"].tolist()


@pytest.mark.parametrize("name", ORDINARY)
def test_trains_with_every_ordinary_optimizer(name: str) -> None:
    assert all(rate > 0 for rate in train_a_little(ToyTask, name))


def test_torch_has_the_usual_optimizers_among_them() -> None:
    assert {"adam", "adamw", "sgd", "rmsprop", "adagrad", "radam", "rprop"} <= set(ORDINARY)


def test_special_optimizers_train_models_of_their_kind() -> None:
    train_a_little(SparseTask, "sparseadam")
    if "muon" in optimizer_names():
        train_a_little(MatrixTask, "muon")


def test_names_ignore_case_and_factories_are_accepted() -> None:
    rates = train_a_little(ToyTask, "AdamW", optimizer_arguments={"weight_decay": 0.1})
    same = train_a_little(ToyTask, lambda p, lr: torch.optim.AdamW(p, lr=lr, weight_decay=0.1))
    assert rates == same


def test_an_optimizer_that_needs_a_closure_is_refused() -> None:
    with pytest.raises(ModelError, match="LBFGS needs a closure"):
        LayerwiseLREnv("toy", optimizer="lbfgs")


def test_an_optimizer_that_cannot_step_from_these_gradients_is_refused() -> None:
    env = LayerwiseLREnv("toy", optimizer="sparseadam")
    with pytest.raises(ModelError, match="SparseAdam"):
        env.reset(seed=0)


@pytest.mark.parametrize(
    ("optimizer", "arguments", "error", "says"),
    [
        ("adamm", {}, UnknownNameError, "did you mean 'adam'"),
        ("adam", {"momentum": 0.9}, InvalidArgumentError, "momentum"),
        ("adam", {"betas": (2.0, 0.9)}, InvalidArgumentError, "beta"),
        ("adam", {"lr": 0.1}, InvalidArgumentError, "lr"),
        (torch.optim.SGD([nn.Parameter(torch.ones(1))]), {}, InvalidArgumentError, "SGD"),
    ],
)
def test_unusable_optimizers_are_one_sentence(optimizer, arguments, error, says) -> None:
    with pytest.raises(error, match=says) as caught:
        build_optimizer(optimizer, nn.Linear(2, 2).parameters(), 0.1, arguments)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, LrEnvError)


def test_a_model_without_trainable_parameters_is_a_model_error() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ModelError, match="no trainable parameters"):
        build_optimizer("adam", frozen.parameters(), 0.1)
