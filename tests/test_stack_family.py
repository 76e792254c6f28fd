"""Lane i is the single environment on every kind of network of the family."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from lr_env.tasks.family import FamilySpec, FamilyTask, held_out_specs
from tests.test_stack_lanes import LANES, lane_settings, largest_gap

# As they are held out, but shallow: deeper is more of the same, and slow.
SPECS = {spec.architecture: replace(spec, depth=min(2, spec.depth)) for spec in held_out_specs()}
TRANSFORMER = SPECS["transformer"]
OTHERS = [spec for spec in SPECS.values() if spec is not TRANSFORMER]


class WithoutMixingBias(FamilyTask):
    """The same, without the bias that no loss depends on.

    A key's bias adds the same to all of a query's scores, which softmax takes out again: its
    gradient is rounding noise, which optimizers of Adam's kind blow up to whole steps.
    """

    def build_model(self) -> nn.Module:
        network = super().build_model()
        for block in network[0].blocks:
            block.mix.bias = None
        return network


def _check(task: type[FamilyTask], spec: FamilySpec, optimizer: str) -> None:
    settings = lane_settings(optimizer, "linear", torch.float64)
    gap, ended = largest_gap(partial(task, spec), settings, 24)
    assert gap <= 1e-6
    assert ended >= LANES  # autoreset was crossed


@pytest.mark.parametrize("optimizer", ["adam", pytest.param("rmsprop", marks=pytest.mark.slow)])
@pytest.mark.parametrize("spec", OTHERS, ids=lambda spec: spec.architecture)
def test_lanes_equal_single_environments(spec: FamilySpec, optimizer: str) -> None:
    _check(FamilyTask, spec, optimizer)


def test_lanes_equal_single_environments_on_transformers_under_sgd() -> None:
    _check(FamilyTask, TRANSFORMER, "sgd")


@pytest.mark.parametrize(
    "optimizer",
    ["adam", *(pytest.param(name, marks=pytest.mark.slow) for name in ("adamw", "rmsprop"))],
)
def test_what_keeps_transformers_apart_is_the_bias_without_a_gradient(optimizer: str) -> None:
    _check(WithoutMixingBias, TRANSFORMER, optimizer)
