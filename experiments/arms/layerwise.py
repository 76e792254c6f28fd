"""Layer-wise learning-rate decay: lower transformer layers, which hold what is general, move less.

Howard and Ruder 2018 (discriminative fine-tuning); Clark et al. 2020 (ELECTRA, appendix B).
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from lr_env.errors import ModelError

_NUMBERED = re.compile(r"(?:^|\.)(?:layer|layers|h|block|blocks)\.(\d+)\.")
_EMBEDDING = re.compile(r"(?:^|[._])(?:embed|embedding|embeddings|wte|wpe)(?:[._]|$)")


def layerwise_groups(model: nn.Module, lr: float, decay: float) -> list[dict[str, Any]]:
    """Return parameter groups: the head at `lr`, each layer at `decay` times the one above it.

    Embeddings are the lowest layer.

    Raises:
        ModelError: the model has no numbered transformer layers.
    """
    depths = {name: _depth(name) for name, p in model.named_parameters() if p.requires_grad}
    numbers = {depth for depth in depths.values() if depth is not None and depth >= 0}
    attentive = any("attention" in type(part).__name__.lower() for part in model.modules())
    if len(numbers) < 2 or not attentive:
        raise ModelError(
            "Layer-wise decay is for transformers, and this task's model has no numbered "
            "transformer layers: leave arm adam-layerwise out."
        )
    top = max(numbers) + 1
    groups: dict[int, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            depth = depths[name]
            groups.setdefault(top if depth is None else depth, []).append(parameter)
    return [
        {"params": members, "lr": lr * decay ** (top - depth)}
        for depth, members in sorted(groups.items(), reverse=True)
    ]


def _depth(name: str) -> int | None:
    """Return a layer's number, -1 for embeddings and None for what stands above all layers."""
    numbered = _NUMBERED.search(name)
    if numbered:
        return int(numbered[1])
    return -1 if _EMBEDDING.search(name.lower()) else None
