"""Observations: scale-free, bounded features of every layer, `[..., L, F]`.

Logs and ratios, scaled by the constants here and clipped to [-5, 5]; no running normaliser, so
that a frozen policy needs nothing but itself. A row holds the layer's own features, those of
the whole training, and the mean over layers of the ones that move.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from lr_env.layers import LayerTable
from lr_env.statistics import RAW_INDEX

FEATURES_VERSION = 2
BOUND = 5.0

MOVING_FEATURES = ("relative_rate", "offset", "gradient", "curvature", "momentum_snr", "distance")
LAYER_FEATURES = (
    *MOVING_FEATURES, "momentum_seen", "matrix", "embedding", "normalisation", "bias",
    "pretrained", "depth",
)  # fmt: skip
GLOBAL_FEATURES = (
    "progress", "pace", "horizon", "update_seen", "loss_from_start", "loss_from_best",
    "loss_trend", "loss_noise", "total_rate", "base_factor", "envelope", "epochs", "epochs_seen",
    "validation_from_start", "validation_from_best", "validation_age", "validation_seen",
)  # fmt: skip
FEATURES = (*LAYER_FEATURES, *GLOBAL_FEATURES, *(f"mean_{name}" for name in MOVING_FEATURES))


@dataclass(frozen=True)
class Signals:
    """What is known at a decision; leading dimensions `[...]`, one entry for each training.

    Attributes:
        raw: raw statistics `[..., L, R]`.
        loss: mean training loss of the mini-batches since the last decision.
        step: updates made so far.
        total_steps: updates that the training will take.
        samples: training samples that it meets, each counted once; NaN where unknown.
        interval: updates until the next decision.
        base_lr: today's rate of the base schedule `[..., L]`.
        reference_lr: the base schedule's nominal rate `[..., L]`.
        z: log2 scales `[..., L]`.
        z_max: half-width of the envelope, octaves.
        epochs: passes over the training data so far; NaN where unknown.
        validation_loss: latest validation loss; NaN where there is none.
    """

    raw: Tensor
    loss: Tensor
    step: Tensor
    total_steps: Tensor
    samples: Tensor
    interval: Tensor
    base_lr: Tensor
    reference_lr: Tensor
    z: Tensor
    z_max: Tensor
    epochs: Tensor
    validation_loss: Tensor


@dataclass(frozen=True)
class Memory:
    """What observations remember from decision to decision; NaN until first seen.

    Attributes `[...]`: initial, fast, slow, best: training losses; variance: of the loss around
    `slow`; initial_validation, best_validation, best_validation_step. `[..., L]`: initial_gradient:
    norm of the first gradient that was not zero; direction: last known rms of an update per unit of
    learning rate.
    """

    initial: Tensor
    fast: Tensor
    slow: Tensor
    best: Tensor
    variance: Tensor
    initial_validation: Tensor
    best_validation: Tensor
    best_validation_step: Tensor
    initial_gradient: Tensor
    direction: Tensor

    @classmethod
    def empty(cls, lead: tuple[int, ...], layers: int, like: Tensor) -> Memory:
        """Return the memory of trainings not yet looked at, in the dtype and device of `like`."""
        values = {
            field.name: like.new_full(
                (*lead, layers) if field.name in ("initial_gradient", "direction") else lead,
                float("nan"),
            )
            for field in fields(cls)
        }
        return cls(**values)

    def take(self, rows: Tensor) -> Memory:
        """Return the memory of the trainings in `rows`."""
        return Memory(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def put(self, rows: Tensor, new: Memory) -> Memory:
        """Return the memory with that of the trainings in `rows` replaced."""
        changed = {}
        for field in fields(self):
            changed[field.name] = getattr(self, field.name).clone()
            changed[field.name][rows] = getattr(new, field.name)
        return Memory(**changed)


def remember(memory: Memory, signals: Signals) -> Memory:
    """Return `memory` with what `signals` add to it."""
    loss, raw = signals.loss, signals.raw
    slow = _blend(memory.slow, loss, 0.9)
    fast = _blend(memory.fast, loss, 0.5)
    known = raw[..., RAW_INDEX["direction_rms"]]
    gradient = raw[..., RAW_INDEX["gradient_sq"]].sqrt()
    # What moved a layer that had no gradient was weight decay alone.
    moved_by_gradient = (signals.step == 0).unsqueeze(-1) | memory.initial_gradient.isfinite()
    validation = signals.validation_loss
    measured = validation.isfinite()
    improved = measured & ~(validation >= memory.best_validation)
    return replace(
        memory,
        initial=_first(memory.initial, loss),
        fast=fast,
        slow=slow,
        best=fast.fmin(memory.best),
        variance=_blend(memory.variance, (loss - _first(memory.slow, loss)) ** 2, 0.9),
        initial_validation=_first(
            memory.initial_validation, validation.masked_fill(~measured, torch.nan)
        ),
        best_validation=validation.fmin(memory.best_validation),
        best_validation_step=torch.where(
            improved, signals.step.to(validation.dtype), memory.best_validation_step
        ),
        initial_gradient=_first(
            memory.initial_gradient, gradient.masked_fill(gradient == 0, torch.nan)
        ),
        direction=torch.where((known > 0) & moved_by_gradient, known, memory.direction),
    )


def relative_rates(raw: Tensor, direction: Tensor, rates: Tensor, table: LayerTable) -> Tensor:
    """Return what one update at `rates` changes of each layer, relative to its weights `[..., L]`.

    rate * rms(update direction) / rms(weights), the weights' rms floored at 0.1 / sqrt(fan_in);
    0 where no direction is known.
    """
    rms = (raw[..., RAW_INDEX["weight_sq"]] / table.size).sqrt().maximum(table.weight_floor)
    return torch.nan_to_num(rates * direction / rms, nan=0.0, posinf=1e6)


def features(memory: Memory, signals: Signals, start: Tensor, table: LayerTable) -> Tensor:
    """Return observations `[..., L, F]`, in the order of `FEATURES`; finite and within ±5.

    `start` `[..., L]` is where the layers' log2 scales began.
    """
    own = _layer_features(memory, signals, start, table)
    whole = _global_features(memory, signals, table)
    layers = own.shape[-2]
    mean = own[..., : len(MOVING_FEATURES)].mean(-2, keepdim=True)
    row = [own, *(part.expand(*own.shape[:-2], layers, -1) for part in (whole.unsqueeze(-2), mean))]
    return torch.nan_to_num(torch.cat(row, -1), nan=0.0, posinf=BOUND, neginf=-BOUND)


def _layer_features(memory: Memory, signals: Signals, start: Tensor, table: LayerTable) -> Tensor:
    raw = {name: signals.raw[..., index] for name, index in RAW_INDEX.items()}
    rate = relative_rates(signals.raw, memory.direction, signals.base_lr * signals.z.exp2(), table)
    weight = (raw["weight_sq"] / table.size).sqrt().maximum(table.weight_floor)
    distance = (raw["distance_sq"] / table.size).sqrt() / weight
    gradient = raw["gradient_sq"].sqrt()
    known = raw["previous_dot_update"].abs() > 1e-30
    curvature = torch.where(
        known, raw["gradient_dot_update"] / raw["previous_dot_update"], torch.zeros_like(gradient)
    )
    momentum_seen = raw["momentum_sq"] > 0
    snr = raw["momentum_sq"].clamp(min=1e-30) / raw["gradient_sq"].clamp(min=1e-30)
    moving = [
        0.5 * (rate.clamp(min=1e-9).log10() + 3.0),
        # From its start, not from the base rate: a policy does alike from any of them.
        (signals.z - start) / 2.0,
        torch.nan_to_num(_log_ratio(gradient, memory.initial_gradient) / 2.3),
        curvature.clamp(-2.0, 2.0),
        torch.where(momentum_seen, 0.5 * snr.log10(), torch.zeros_like(snr)),
        0.5 * ((distance + 1e-6).log10() + 2.0),
    ]
    shape = gradient.shape
    fixed = [
        momentum_seen.to(gradient.dtype),
        *(column.expand(shape) for column in table.kind.unbind(-1)),
        table.pretrained.expand(shape),
        table.depth.expand(shape),
    ]
    return torch.stack([*moving, *fixed], -1).clamp(-BOUND, BOUND)


def _global_features(memory: Memory, signals: Signals, table: LayerTable) -> Tensor:
    rates = relative_rates(signals.raw, memory.direction, signals.base_lr * signals.z.exp2(), table)
    total = signals.total_steps
    seen = (signals.step > 0).to(signals.loss.dtype)
    noise = memory.variance.sqrt() / memory.slow.abs().clamp(min=1e-12)
    validation = torch.where(signals.validation_loss.isfinite(), signals.validation_loss, torch.nan)
    values = [
        signals.step / total,
        (signals.interval / total).log10() + 2.0,
        (total.log10() - 2.5).clamp(-1.5, 1.5),
        seen,
        _log_ratio(memory.fast, memory.initial),
        _log_ratio(memory.fast, memory.best),
        _log_ratio(memory.fast, memory.slow) * 3.0,
        (noise + 1e-3).log10() + 1.0,
        rates.sum(-1).clamp(min=1e-9).log10() + 2.0,
        (signals.base_lr / signals.reference_lr.clamp(min=1e-30)).mean(-1),
        signals.z_max / 10.0,
        torch.nan_to_num(signals.epochs).add(1.0).log10(),
        signals.epochs.isfinite().to(seen.dtype),
        torch.nan_to_num(_log_ratio(validation, memory.initial_validation)),
        # Two per cent are much: learning by heart begins so, and a rate that waits has lost.
        torch.nan_to_num(_log_ratio(validation, memory.best_validation) * 20.0).tanh(),
        torch.where(
            validation.isfinite(), (signals.step - memory.best_validation_step) / total * 5.0, 0.0
        ),
        validation.isfinite().to(seen.dtype),
    ]
    return torch.stack(values, -1).clamp(-BOUND, BOUND)


def _log_ratio(value: Tensor, reference: Tensor) -> Tensor:
    return (value.clamp(min=1e-12) / reference.clamp(min=1e-12)).log()


def _first(kept: Tensor, new: Tensor) -> Tensor:
    return torch.where(kept.isnan(), new, kept)


def _blend(kept: Tensor, new: Tensor, weight: float) -> Tensor:
    return torch.where(kept.isnan(), new, weight * kept + (1.0 - weight) * new)
