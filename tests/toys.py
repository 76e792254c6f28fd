"""A task, models and policies small enough for every test; nothing here is downloaded."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from lr_env.action import DISCRETE_ACTIONS, Envelope
from lr_env.observation import FEATURES
from lr_env.policy import FrozenPolicy, make_card
from lr_env.randomness import torch_generator
from lr_env.tasks import TensorTask

INPUTS, HIDDEN, CLASSES = 6, 8, 3


def _middle(architecture: str) -> list[nn.Module]:
    parts: dict[str, list[nn.Module]] = {
        "mlp": [],
        "layernorm": [nn.LayerNorm(HIDDEN)],
        "batchnorm": [nn.BatchNorm1d(HIDDEN)],
        "dropout": [nn.Dropout(0.3)],
    }
    return parts[architecture]


def build_toy_model(architecture: str = "mlp") -> nn.Sequential:
    """Return a classifier of two linear layers, with something between them.

    No bias before BatchNorm: its gradient is rounding noise, which Adam blows up to whole steps.
    """
    return nn.Sequential(
        nn.Linear(INPUTS, HIDDEN, bias=architecture != "batchnorm"),
        *_middle(architecture),
        nn.ReLU(),
        nn.Linear(HIDDEN, CLASSES),
    )


class ToyTask(TensorTask):
    """Classes that a random linear map tells apart; 64 training samples, batches of 16."""

    name = "toy"
    batch_size = 16

    def __init__(self, seed: int = 0, architecture: str = "mlp") -> None:
        generator = torch_generator(seed, "toy")
        truth = torch.randn(INPUTS, CLASSES, generator=generator)

        def draw(count: int) -> tuple[Tensor, Tensor]:
            inputs = torch.randn(count, INPUTS, generator=generator)
            return inputs, (inputs @ truth).argmax(-1)

        super().__init__({"train": draw(64), "validation": draw(32), "test": draw(32)}, seed)
        self.architecture = architecture

    def build_model(self) -> nn.Module:
        return build_toy_model(self.architecture)


class HalfPretrainedTask(ToyTask):
    """The same; its first layer counts as pretrained."""

    def is_pretrained(self, parameter_name: str) -> bool:
        return parameter_name.startswith("0.")


class LateTask(ToyTask):
    """The same; its last layer begins at zero, and so the first one has no gradient at first."""

    def build_model(self) -> nn.Module:
        model = build_toy_model(self.architecture)
        nn.init.zeros_(model[-1].weight)
        return model


def make_policy(
    *, discrete: bool = False, seed: int = 3, envelope: Envelope | None = None
) -> FrozenPolicy:
    """Return a policy with random weights. Some seeds push all layers to an edge and hold them
    there; 3 is one that moves every layer at every decision."""
    generator = torch.Generator().manual_seed(seed)
    outputs = len(DISCRETE_ACTIONS) if discrete else 1
    sizes = (len(FEATURES), 8, outputs)
    weights = {}
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        weights[f"{index}.weight"] = torch.randn(fan_out, fan_in, generator=generator) * 0.4
        weights[f"{index}.bias"] = torch.randn(fan_out, generator=generator) * 0.1
    card = make_card(
        name="random",
        action_space="discrete" if discrete else "box",
        activation="tanh",
        envelope=envelope or Envelope(z_max=4.0, max_step=1.0),
    )
    return FrozenPolicy(weights, card)
