"""Groups of features that a meta-training can leave out, to see which earn their place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lr_env.errors import UnknownNameError
from lr_env.observation import FEATURES, LAYER_FEATURES

FEATURE_GROUPS: dict[str, tuple[str, ...]] = {
    "layer": LAYER_FEATURES,
    "rate": ("relative_rate", "mean_relative_rate", "total_rate"),
    "offset": ("offset", "mean_offset"),
    "gradient": ("gradient", "mean_gradient", "momentum_snr", "mean_momentum_snr"),
    "curvature": ("curvature", "mean_curvature"),
    "distance": ("distance", "mean_distance"),
    "kind": ("matrix", "embedding", "normalisation", "bias", "depth"),
    "pretrained": ("pretrained",),
    "loss": ("loss_from_start", "loss_from_best", "loss_trend", "loss_noise"),
    "time": ("progress", "pace", "horizon"),
    "length": ("pace", "horizon"),
    "epochs": ("epochs", "epochs_seen"),
    "validation": (
        "validation_from_start",
        "validation_from_best",
        "validation_age",
        "validation_seen",
    ),
}
"""Without `layer`, whatever is a layer's own, all layers see the same and act as one; `length` is
what of `time` does not move."""


def check_groups(names: Sequence[str]) -> None:
    """Raise UnknownNameError for a name of no group."""
    for name in names:
        if name not in FEATURE_GROUPS:
            raise UnknownNameError("feature group", name, tuple(FEATURE_GROUPS))


def seen_features(left_out: Sequence[str]) -> Tensor:
    """Return 1 for every feature that an agent sees and 0 for the others `[F]`, float32."""
    hidden = {feature for group in left_out for feature in FEATURE_GROUPS[group]}
    return torch.tensor([float(name not in hidden) for name in FEATURES])
