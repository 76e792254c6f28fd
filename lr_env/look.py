"""One look at trainings at a decision: what is remembered, where layers begin, what is seen.

Single environment, stack and controller see through it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lr_env.action import Envelope, Scope
from lr_env.layers import LayerTable
from lr_env.observation import Memory, Signals, features, relative_rates, remember


@dataclass(frozen=True)
class Sight:
    """What a look leaves behind.

    Attributes:
        memory: with this decision in it.
        scope: where layers started, and how far actions reach; the same object where none begins.
        z: log2 scales `[..., L]`, those of layers that begin at their starts.
        observation: `[..., L, F]`.
    """

    memory: Memory
    scope: Scope
    z: Tensor
    observation: Tensor


def look(
    memory: Memory, signals: Signals, scope: Scope, envelope: Envelope, table: LayerTable
) -> Sight:
    """Return what is seen of trainings at a decision.

    A layer begins where it is known for the first time what an update changes of it: at the first
    decision, or, where it had no gradient then, at the second at which it has one. Until then it is
    held where `Envelope.begin` puts layers that nothing is known of.
    """
    knew = memory.direction.isfinite()
    memory = remember(memory, signals)
    begins = (memory.direction.isfinite() & ~knew) | (signals.step == 0).unsqueeze(-1)
    if _any(begins):
        nominal = relative_rates(signals.raw, memory.direction, signals.reference_lr, table)
        fresh = envelope.begin(
            nominal, table.pretrained, table.batch_normalised, signals.total_steps, signals.samples
        )
        scope = fresh.where(begins, scope)
        signals = replace(signals, z=torch.where(begins, fresh.start, signals.z))
    return Sight(memory, scope, signals.z, features(memory, signals, scope.start, table))


def _any(mask: Tensor) -> bool:
    return bool(mask.any())
