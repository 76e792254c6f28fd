"""Layers: which parameters share a learning rate, and what is known of them."""

import pytest
import torch
from torch import nn

from lr_env.errors import ModelError
from lr_env.layers import LayerKind, LayerTable, group_layers


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.encoder = nn.Sequential(nn.Conv1d(4, 6, 3), nn.GroupNorm(2, 6), nn.ReLU())
        self.attention = nn.MultiheadAttention(6, 2)
        self.head = nn.Linear(6, 3)
        self.temperature = nn.Parameter(torch.ones(1))


def test_a_layer_is_what_one_module_owns_in_the_models_order() -> None:
    layers = group_layers(Mixed())
    assert [(layer.name, layer.kind) for layer in layers] == [
        ("model", LayerKind.BIAS),
        ("words", LayerKind.EMBEDDING),
        ("encoder.0", LayerKind.MATRIX),
        ("encoder.1", LayerKind.NORMALISATION),
        ("attention", LayerKind.MATRIX),
        ("attention.out_proj", LayerKind.MATRIX),
        ("head", LayerKind.MATRIX),
    ]
    assert layers[2].parameter_names == ("encoder.0.weight", "encoder.0.bias")
    assert layers[2].size == 6 * 4 * 3 + 6
    assert layers[2].fan_in == 4 * 3
    assert layers[1].fan_in == 4
    assert layers[3].fan_in == 1
    assert [layers[0].depth, layers[3].depth, layers[-1].depth] == [0.0, 0.5, 1.0]


def test_every_trainable_parameter_is_in_exactly_one_layer() -> None:
    model = Mixed()
    model.words.requires_grad_(False)
    model.head.bias.requires_grad_(False)
    names = [name for layer in group_layers(model) for name in layer.parameter_names]
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert sorted(names) == sorted(trainable)
    assert len(set(names)) == len(names)
    assert "words" not in {layer.name for layer in group_layers(model)}


@pytest.mark.parametrize(
    "module", [nn.LayerNorm(4), nn.BatchNorm2d(4), nn.InstanceNorm1d(4, affine=True), nn.RMSNorm(4)]
)
def test_normalisation_is_known_by_name(module: nn.Module) -> None:
    assert group_layers(nn.Sequential(module))[0].kind == LayerKind.NORMALISATION


def test_tied_parameters_are_counted_once() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    (layer,) = group_layers(model)
    assert layer.size == 15


def test_pretrained_layers_are_those_whose_every_parameter_is() -> None:
    layers = group_layers(Mixed(), lambda name: not name.startswith("head.b"))
    assert [layer.pretrained for layer in layers] == [True] * 6 + [False]


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Linear(2, 2).requires_grad_(False)])
def test_nothing_to_train_is_refused(model: nn.Module) -> None:
    with pytest.raises(ModelError, match="no trainable parameters"):
        group_layers(model)


def test_the_table_is_the_layers_in_numbers() -> None:
    layers = group_layers(Mixed())
    table = LayerTable.of(layers, torch.float64)
    assert table.size.tolist() == [layer.size for layer in layers]
    assert table.kind.argmax(-1).tolist() == [layer.kind for layer in layers]
    assert table.kind.sum(-1).tolist() == [1.0] * len(layers)
    expected = [0.1 / layer.fan_in**0.5 for layer in layers]
    torch.testing.assert_close(table.weight_floor.tolist(), expected)
    assert table.size.dtype == torch.float64


def test_a_root_of_its_own_name_where_a_layer_is_called_model() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.model = nn.Linear(2, 2)

    assert [layer.name for layer in group_layers(Around())] == ["(root)", "model"]


def test_parameters_without_a_shape_or_without_entries() -> None:
    with pytest.raises(ModelError, match=r"'0\.weight' has no shape yet"):
        group_layers(nn.Sequential(nn.LazyLinear(3)))
    empty = nn.Sequential(nn.Linear(2, 3))
    empty.register_parameter("none", nn.Parameter(torch.zeros(0, 3)))
    assert [layer.name for layer in group_layers(empty)] == ["0"]


@pytest.mark.parametrize(
    ("norm", "expected"),
    [(nn.BatchNorm1d(3), True), (nn.SyncBatchNorm(3), True), (nn.LayerNorm(3), False)],
)
def test_a_network_with_batchnorm_says_so_on_every_layer(norm: nn.Module, expected: bool) -> None:
    layers = group_layers(nn.Sequential(nn.Linear(3, 3), norm, nn.Linear(3, 2)))
    assert [layer.batch_normalised for layer in layers] == [expected] * 3
    table = LayerTable.of(layers, torch.float64)
    assert table.batch_normalised.tolist() == [float(expected)] * 3
