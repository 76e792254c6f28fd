"""The meta-training family: specs, instances, stacks of every architecture."""

import json
from functools import partial

import pytest
import torch
from torch import nn

from lr_env.errors import InvalidArgumentError
from lr_env.randomness import IsolatedTorchRandomness
from lr_env.stack import Stack, StackSettings
from lr_env.tasks import SPLITS, make_task
from lr_env.tasks.family import (
    FamilySpec,
    FamilyTask,
    build_network,
    family_specs,
    held_out_specs,
    sample_spec,
)
from lr_env.tasks.family.data import GENERATORS, generate
from lr_env.tasks.family.models import UnfoldedConv2d
from lr_env.tasks.family.pretraining import pretrained

ARCHITECTURES = {"mlp", "residual_mlp", "cnn", "residual_cnn", "transformer", "finetune"}
IDS = [spec.architecture for spec in held_out_specs()]


def test_specs_go_through_plain_values() -> None:
    for seed in range(20):
        spec = sample_spec(seed)
        assert FamilySpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
        assert sample_spec(seed) == spec
    with pytest.raises(InvalidArgumentError, match="architecture"):
        FamilySpec.from_dict({"depth": 3})


def test_ten_specs_hold_every_architecture_and_optimizer() -> None:
    specs = family_specs(1, 10)
    assert {spec.architecture for spec in specs} == ARCHITECTURES
    assert {spec.optimizer for spec in specs} == {"adam", "adamw", "sgd", "rmsprop"}


def test_no_meta_training_draws_a_held_out_spec() -> None:
    held_out = held_out_specs()
    assert {spec.architecture for spec in held_out} == ARCHITECTURES
    drawn = [spec for seed in range(200) for spec in family_specs(seed, 10)]
    for spec in held_out:
        widths = {other.width for other in drawn if other.architecture == spec.architecture}
        assert spec.width not in widths


@pytest.mark.parametrize("spec", held_out_specs(), ids=IDS)
def test_a_seed_fixes_data_and_shapes_do_not_depend_on_it(spec: FamilySpec) -> None:
    one, again, other = FamilyTask(spec, 1), FamilyTask(spec, 1), FamilyTask(spec, 2)
    for split in SPLITS:
        assert torch.equal(one.tensors(split)[0], again.tensors(split)[0])
        assert one.tensors(split)[0].shape == other.tensors(split)[0].shape
    assert not torch.equal(one.tensors("train")[0], other.tensors("train")[0])


@pytest.mark.parametrize("spec", held_out_specs(), ids=IDS)
def test_stacks_of_every_architecture_train(spec: FamilySpec) -> None:
    settings = StackSettings(optimizer=spec.optimizer, base_lr=1e-2, total_steps=40)
    stack = Stack(partial(FamilyTask, spec), 3, settings)
    start = stack.reset(0)
    for _ in range(5):
        outcome = stack.step(torch.zeros(3, len(stack.layers)))
        assert torch.isfinite(outcome.observation).all()
        assert torch.isfinite(outcome.reward).all()
    assert not torch.equal(start, outcome.observation)


@pytest.mark.parametrize("kind", sorted(GENERATORS))
def test_every_generator_uses_every_class(kind: str) -> None:
    specs = (spec for seed in range(50) for spec in family_specs(seed, 10))
    inputs_of = {"blobs": "vector", "margin": "vector", "glyphs": "image", "keywords": "tokens"}
    wanted = inputs_of.get(kind)
    spec = next(own for own in specs if kind in own.data or own.inputs == wanted)
    inputs, labels = generate(kind, spec, 1000, torch.Generator().manual_seed(0))
    assert len(inputs) == 1000
    assert len(labels.unique()) >= min(spec.classes, 2)
    assert int(labels.min()) >= 0
    assert int(labels.max()) < spec.classes


def told_by_neighbours(kind: str, spec: FamilySpec) -> float:
    """Return how often a sample has the class of the nearest of a thousand others."""
    shares = []
    for seed in range(5):
        drawn, labels = generate(kind, spec, 1200, torch.Generator().manual_seed(seed))
        rows = drawn.flatten(1)
        nearest = torch.cdist(rows[1000:], rows[:1000]).argmin(1)
        shares.append(float((labels[nearest] == labels[1000:]).float().mean()))
    return sum(shares) / len(shares)


@pytest.mark.parametrize(
    ("kind", "hard"), [("blobs", "deep_teacher"), ("margin", "teacher"), ("glyphs", "filters")]
)
def test_separable_classes_are_told_apart_by_their_neighbours(kind: str, hard: str) -> None:
    specs = (spec for seed in range(50) for spec in family_specs(seed, 10))
    spec = next(own for own in specs if hard in own.data)
    assert told_by_neighbours(kind, spec) > told_by_neighbours(hard, spec) + 0.1


def test_a_pretrained_backbone_knows_more_than_a_fresh_one() -> None:
    (spec,) = (own for own in held_out_specs() if own.architecture == "finetune")
    teacher, weights = pretrained(spec, 0)
    inputs = teacher.inputs(2000, torch.Generator().manual_seed(1))
    features = teacher.features(inputs)
    errors = []
    for state in (weights, None):
        with IsolatedTorchRandomness(0, "model").use():
            network = build_network(spec)
        if state is not None:
            network[0].load_state_dict(state)
        hidden = torch.cat([network[0](inputs).detach(), torch.ones(len(inputs), 1)], 1)
        fitted = torch.linalg.lstsq(hidden[:1000], features[:1000]).solution
        errors.append(float((hidden[1000:] @ fitted - features[1000:]).square().mean()))
    assert errors[0] < 0.7 * errors[1]


def test_a_frozen_pretrained_backbone_learns_its_task_better_than_a_fresh_one() -> None:
    (spec,) = (own for own in held_out_specs() if own.architecture == "finetune")
    scores = {"pretrained": 0.0, "fresh": 0.0}
    for seed in range(6):
        task = FamilyTask(spec, seed)
        with IsolatedTorchRandomness(seed, "model").use():
            networks = {"pretrained": task.build_model(), "fresh": build_network(spec)}
        for name, network in networks.items():
            _train_head(task, network)
            scores[name] += task.metrics(network, "test")["accuracy"] / 6
    assert scores["pretrained"] > scores["fresh"] + 0.05


def _train_head(task: FamilyTask, network: nn.Module) -> None:
    """Train what is not pretrained, with the whole training split in every step."""
    backbone, head = network
    backbone.requires_grad_(False)
    inputs, targets = task.tensors("train")
    features = backbone(inputs)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        torch.autograd.backward(task.loss_from_outputs(head(features), targets))
        optimizer.step()


def test_only_the_backbone_counts_as_pretrained() -> None:
    for spec in held_out_specs():
        task = FamilyTask(spec, 0)
        names = [name for name, _ in task.build_model().named_parameters()]
        kept = [name for name in names if task.is_pretrained(name)]
        assert bool(kept) == (spec.architecture == "finetune")
        assert len(kept) < len(names)


def test_the_unfolded_convolution_is_the_usual_one() -> None:
    with IsolatedTorchRandomness(0, "model").use():
        layer, images = UnfoldedConv2d(3, 5, 3, 2, 1), torch.randn(4, 3, 8, 8)
    usual = torch.nn.functional.conv2d(images, layer.weight, layer.bias, stride=2, padding=1)
    assert torch.allclose(layer(images), usual, atol=1e-5)


def test_the_registered_name_draws_the_kind_from_its_own_seed() -> None:
    one, other = make_task("family", seed=1, spec_seed=3), make_task("family", seed=2, spec_seed=3)
    assert one.spec == other.spec == sample_spec(3)
