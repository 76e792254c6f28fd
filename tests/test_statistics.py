"""Raw statistics of layers against their definitions, and what optimizers say of momentum."""

import pytest
import torch
from torch import nn

from lr_env.layers import group_layers
from lr_env.statistics import RAW_STATISTICS, LayerStatistics, gradient_average
from tests.toys import INPUTS, build_toy_model


def flat(tensors) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def backward(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model.zero_grad()
    model(torch.randn(8, INPUTS, generator=generator)).square().mean().backward()


def test_every_column_is_what_its_name_says() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_toy_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    statistics = LayerStatistics(model, group_layers(model), optimizer)
    owned = [list(model[0].parameters()), list(model[2].parameters())]
    initial = [flat(group) for group in owned]
    for seed in range(3):
        backward(model, seed)
        old, used = [flat(g) for g in owned], [flat(p.grad for p in g) for g in owned]
        statistics.before_update()
        optimizer.step()
        statistics.after_update([0.1, 0.1])
    backward(model, 9)
    got = statistics.read()
    for row, group, start, before, previous in zip(got, owned, initial, old, used, strict=True):
        weights, gradient = flat(group), flat(p.grad for p in group)
        update = weights - before
        momentum = flat(optimizer.state[p]["momentum_buffer"] for p in group) * 0.1
        expected = {
            "weight_sq": weights.square().sum(),
            "distance_sq": (weights - start).square().sum(),
            "gradient_sq": gradient.square().sum(),
            "momentum_sq": momentum.square().sum(),
            "direction_rms": update[update != 0].square().mean().sqrt() / 0.1,
            "gradient_dot_update": gradient @ update,
            "previous_dot_update": previous @ update,
        }
        assert list(expected) == list(RAW_STATISTICS)
        torch.testing.assert_close(row, torch.stack(list(expected.values())), rtol=1e-4, atol=1e-7)


def test_a_state_dict_carries_everything() -> None:
    model = build_toy_model()
    optimizer = torch.optim.Adam(model.parameters())
    first = LayerStatistics(model, group_layers(model), optimizer)
    backward(model, 0)
    first.before_update()
    optimizer.step()
    first.after_update([1e-3, 1e-3])
    second = LayerStatistics(model, group_layers(model), optimizer)
    assert not torch.equal(second.read(), first.read())
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.read(), first.read())


def test_a_state_read_onto_the_cpu_goes_to_the_models_device() -> None:
    model = build_toy_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state = LayerStatistics(model, group_layers(model), optimizer).state_dict()
    elsewhere = build_toy_model().to("meta")
    optimizer = torch.optim.SGD(elsewhere.parameters(), lr=0.1)
    statistics = LayerStatistics(elsewhere, group_layers(elsewhere), optimizer)
    statistics.load_state_dict(state)
    again = statistics.state_dict()
    assert {v.device.type for v in (*again["previous_dot"], *again["direction"])} == {"meta"}


def test_the_average_of_constant_gradients_is_the_gradient() -> None:
    for optimizer, rel in (
        (torch.optim.Adam, 1e-5),
        (torch.optim.AdamW, 1e-5),
        (lambda p: torch.optim.SGD(p, lr=0.0, momentum=0.5), 1e-3),
    ):
        parameter = nn.Parameter(torch.zeros(3))
        opt = optimizer([parameter])
        for _ in range(12):
            parameter.grad = torch.tensor([1.0, -2.0, 3.0])
            opt.step()
        average = gradient_average(opt.state[parameter], opt.param_groups[0])
        torch.testing.assert_close(average, parameter.grad, rtol=rel, atol=0.0)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad"])
def test_optimizers_without_an_average_have_none(name: str) -> None:
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = getattr(torch.optim, name)([parameter], lr=0.1)
    assert gradient_average(optimizer.state[parameter], optimizer.param_groups[0]) is None
    parameter.grad = torch.ones(3)
    optimizer.step()
    assert gradient_average(optimizer.state[parameter], optimizer.param_groups[0]) is None


def test_the_average_of_muon_is_one_already() -> None:
    parameter = torch.nn.Parameter(torch.zeros(4, 4))
    optimizer = torch.optim.Muon([parameter], lr=0.0, momentum=0.9)
    for _ in range(200):
        parameter.grad = torch.ones(4, 4)
        optimizer.step()
    average = gradient_average(optimizer.state[parameter], optimizer.param_groups[0])
    assert average is not None
    assert torch.allclose(average, torch.ones(4, 4), atol=1e-3)


def test_complex_weights_count_with_both_of_their_parts() -> None:
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(torch.full((3,), 3.0 + 4.0j))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.weight.grad = torch.full((3,), 1.0 + 1.0j)
    raw = LayerStatistics(model, group_layers(model), optimizer).read()[0]
    assert raw[RAW_STATISTICS.index("weight_sq")] == pytest.approx(75.0)
    assert raw[RAW_STATISTICS.index("gradient_sq")] == pytest.approx(6.0)
