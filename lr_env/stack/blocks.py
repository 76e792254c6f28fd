"""Blocks of lanes whose tensors fit the processor's cache."""

from __future__ import annotations

import itertools
import math

_CACHE = 5 << 19
"""Bytes that a block's tensors may take for each thread; found by trying."""
_FEWEST = 8
_COPIES = 6
"""Copies of the weights that an update touches: weights, gradient, moments, rates, a result."""


def blocks_of(num: int, lane_bytes: int, threads: int) -> list[slice]:
    """Return the lanes of a compiled stack in blocks, as equal as can be.

    An interval's updates are made block by block, so that memory is read once and not once an
    update. `lane_bytes` is the size of one lane's weights.
    """
    most = max(_FEWEST, threads * _CACHE // (_COPIES * lane_bytes))
    count = math.ceil(num / most)
    bounds = [round(num * part / count) for part in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(bounds)]
