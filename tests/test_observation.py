"""Observations: bounded, without units, and with the meaning that their names promise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lr_env.action import Envelope
from lr_env.env import LayerwiseLREnv
from lr_env.instruments import Instruments
from lr_env.layers import LayerTable, group_layers
from lr_env.observation import (
    BOUND,
    FEATURES,
    MOVING_FEATURES,
    Memory,
    Signals,
    features,
    remember,
)
from lr_env.statistics import RAW_STATISTICS
from tests.toys import build_toy_model

COLUMN = {name: index for index, name in enumerate(FEATURES)}
LAYERS = group_layers(build_toy_model("layernorm"))
TABLE = LayerTable.of(LAYERS, torch.float64)
START = torch.linspace(-3.0, 2.0, len(LAYERS), dtype=torch.float64)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def signals(seed: int = 0, lead: tuple[int, ...] = (), **changes) -> Signals:
    generator = torch.Generator().manual_seed(seed)

    def positive(*shape: int) -> Tensor:
        return torch.rand((*lead, *shape), generator=generator, dtype=torch.float64) + 0.1

    made = Signals(
        raw=positive(len(LAYERS), len(RAW_STATISTICS)),
        loss=positive(),
        step=torch.full(lead, 10.0, dtype=torch.float64),
        total_steps=torch.full(lead, 100.0, dtype=torch.float64),
        samples=torch.full(lead, 320.0, dtype=torch.float64),
        interval=torch.full(lead, 5.0, dtype=torch.float64),
        base_lr=positive(len(LAYERS)) * 1e-3,
        reference_lr=torch.full((*lead, len(LAYERS)), 2e-3, dtype=torch.float64),
        z=positive(len(LAYERS)),
        z_max=torch.full(lead, 10.0, dtype=torch.float64),
        epochs=torch.full(lead, 2.5, dtype=torch.float64),
        validation_loss=positive(),
    )
    return replace(made, **changes)


def empty(lead: tuple[int, ...] = ()) -> Memory:
    return Memory.empty(lead, len(LAYERS), TABLE.size)


def look(*seen: Signals) -> Tensor:
    memory = empty(seen[0].loss.shape)
    for at in seen:
        memory = remember(memory, at)
    return features(memory, seen[-1], START.expand_as(seen[-1].z), TABLE)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e38, 1e-38])
def test_whatever_is_measured_the_observation_is_finite_and_bounded(bad: float) -> None:
    sound = signals()
    spoiled = signals(1, raw=torch.full_like(sound.raw, bad), loss=scalar(bad))
    for seen in ([spoiled], [sound, spoiled], [spoiled, sound], [spoiled, spoiled]):
        observation = look(*seen)
        assert torch.isfinite(observation).all()
        assert observation.abs().max() <= BOUND


def test_stacked_trainings_are_observed_as_each_alone() -> None:
    first, second = signals(1, (4, 3)), signals(2, (4, 3))
    together = look(first, second)
    assert together.shape == (4, 3, len(LAYERS), len(FEATURES))

    def only(at: Signals) -> Signals:
        return Signals(**{name: value[2, 1] for name, value in vars(at).items()})

    torch.testing.assert_close(together[2, 1], look(only(first), only(second)))


def test_names_are_unique_and_the_mean_columns_are_means() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
    observation = look(signals(1), signals(2))
    for name in MOVING_FEATURES:
        mean = observation[:, COLUMN[name]].mean()
        torch.testing.assert_close(observation[0, COLUMN[f"mean_{name}"]], mean)


def test_formulas_of_the_page() -> None:
    first, second = signals(1), signals(2)
    got = look(first, second)
    raw = dict(zip(RAW_STATISTICS, second.raw.unbind(-1), strict=True))
    weight_rms = (raw["weight_sq"] / TABLE.size).sqrt().maximum(TABLE.weight_floor)
    u = second.base_lr * 2**second.z * raw["direction_rms"] / weight_rms
    gradient = raw["gradient_sq"].sqrt() / first.raw[..., 2].sqrt()
    fast = 0.5 * first.loss + 0.5 * second.loss
    slow = 0.9 * first.loss + 0.1 * second.loss
    best_validation = torch.minimum(first.validation_loss, second.validation_loss)
    expected = {
        "relative_rate": (u.log10() + 3) / 2,
        "offset": (second.z - START) / 2,
        "gradient": gradient.log() / 2.3,
        "curvature": (raw["gradient_dot_update"] / raw["previous_dot_update"]).clamp(-2, 2),
        "momentum_snr": (raw["momentum_sq"] / raw["gradient_sq"]).log10() / 2,
        "distance": (((raw["distance_sq"] / TABLE.size).sqrt() / weight_rms + 1e-6).log10() + 2)
        / 2,
        "progress": scalar(0.1),
        "pace": scalar(0.05).log10() + 2,
        "horizon": scalar(-0.5),
        "update_seen": scalar(1.0),
        "loss_from_start": (fast / first.loss).log(),
        "loss_from_best": (fast / torch.minimum(fast, first.loss)).log(),
        "loss_trend": 3 * (fast / slow).log(),
        "total_rate": u.sum().log10() + 2,
        "base_factor": (second.base_lr / second.reference_lr).mean(),
        "envelope": scalar(1.0),
        "epochs": scalar(3.5).log10(),
        "epochs_seen": scalar(1.0),
        "validation_from_start": (second.validation_loss / first.validation_loss).log(),
        "validation_from_best": (20 * (second.validation_loss / best_validation).log()).tanh(),
        "validation_seen": scalar(1.0),
    }
    for name, value in expected.items():
        torch.testing.assert_close(
            got[:, COLUMN[name]], value.expand(len(LAYERS)), msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_age_of_the_best_validation_loss_is_a_share_of_the_budget() -> None:
    losses = {0.0: 1.0, 10.0: 0.5, 20.0: 0.6, 30.0: float("nan"), 40.0: 0.5}
    seen = [
        signals(validation_loss=scalar(loss), step=scalar(step)) for step, loss in losses.items()
    ]
    ages = [look(*seen[: count + 1])[0, COLUMN["validation_age"]] for count in range(len(seen))]
    assert [round(float(age), 6) for age in ages] == [0.0, 0.0, 0.5, 0.0, 1.5]


@pytest.mark.parametrize("unseen", [float("nan"), float("inf")])
def test_a_validation_loss_that_is_not_finite_is_none(unseen: float) -> None:
    got = look(signals(1), signals(2, validation_loss=scalar(unseen)))
    for name in ("validation_from_start", "validation_from_best", "validation_age",
                 "validation_seen"):  # fmt: skip
        assert (got[:, COLUMN[name]] == 0).all()


def test_what_is_unknown_is_zero_with_its_flag_down() -> None:
    nan = scalar(float("nan"))
    got = look(signals(1, epochs=nan, validation_loss=nan, step=scalar(0.0)))
    for name in ("epochs", "epochs_seen", "validation_from_start", "validation_from_best",
                 "validation_age", "validation_seen", "update_seen"):  # fmt: skip
        assert (got[:, COLUMN[name]] == 0).all()


def observe_model(scale: float = 1.0, lr: float = 0.01) -> Tensor:
    """Observe a model whose weights, data and loss are scaled so that its function is the same."""
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.Linear(8, 3, bias=False)).double()
    torch.set_rng_state(torch_state)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    instruments = Instruments(
        model,
        optimizer,
        total_steps=20,
        steps_per_action=2,
        envelope=Envelope(z_init="zero"),
    )
    generator = torch.Generator().manual_seed(3)
    for _ in range(8):
        x = torch.randn(16, 6, generator=generator, dtype=torch.float64)
        optimizer.zero_grad()
        loss = (model(x / scale**2) - x[:, :3]).square().mean()
        loss.backward()
        instruments.record_loss(loss)
        if instruments.decision_due:
            observation = instruments.observe()
            instruments.act(torch.zeros(2))
        instruments.before_update()
        optimizer.step()
        instruments.after_update()
    return observation


def test_units_of_weights_cancel() -> None:
    # Weights s times larger with inputs s^2 times smaller: gradients fall by s, and a rate s^2
    # times larger makes the same relative updates.
    torch.testing.assert_close(observe_model(), observe_model(scale=4.0, lr=0.16))


def test_the_raw_rate_is_not_observed() -> None:
    env = {
        lr: LayerwiseLREnv("toy", optimizer="sgd", base_lr=lr, num_decisions=3)
        for lr in (1e-4, 1e-2)
    }
    slow, fast = (env[lr].reset(seed=0)[0] for lr in env)
    changed = {FEATURES[index] for index in np.flatnonzero((slow != fast).any(0))}
    assert changed == {"relative_rate", "mean_relative_rate", "total_rate"}


@pytest.mark.parametrize("first", [float("inf"), float("nan")])
def test_a_validation_loss_that_is_not_finite_is_no_first_one(first: float) -> None:
    memory = Memory.empty((), len(LAYERS), TABLE.size)
    for step, loss in ((1.0, first), (2.0, 0.7), (3.0, 0.35)):
        memory = remember(memory, signals(step=scalar(step), validation_loss=scalar(loss)))
    assert float(memory.initial_validation) == 0.7
    assert float(memory.best_validation) == 0.35
