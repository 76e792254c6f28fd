"""Blocks of lanes whose tensors fit the processor's cache."""

from __future__ import annotations

import itertools
import math

_COMPILED_CACHE = 5 << 19
"""Bytes that a compiled block's tensors may take for each thread; found by trying."""
_PERCEPTRON_CACHE = 8 << 20
"""The same of a perceptron's lanes, of which all but the update needs no more than one at a time.
Of 1 to 40 MB, those from 5 on were level within noise for an MLP of 3,500 parameters and smaller
ones slower, on a core with a second-level cache of 0.5 MB: more calls for the same reading."""
_EAGER_CACHE = 24 << 20
"""The same of eager blocks, whatever the threads: every operation costs its call, which few lanes
do not pay for. Of 1 to 60 MB, 16 to 30 were the fastest or level with it for three MLPs of 3,500
to 59,000 parameters, in turns on one core beside a third-level cache of 32 MB."""
_FEWEST = 8
_COPIES = 6
"""Copies of the weights that an update touches: weights, gradient, moments, rates, a result."""


def compiled_blocks(
    num: int, lane_bytes: int, threads: int, perceptron: bool = False
) -> list[slice]:
    """Return the lanes of a compiled stack in blocks, as equal as can be.

    An interval's updates are made block by block, so that memory is read once and not once an
    update. `lane_bytes` is the size of one lane's weights.
    """
    return _blocks(
        num, lane_bytes, threads * (_PERCEPTRON_CACHE if perceptron else _COMPILED_CACHE)
    )


def eager_blocks(num: int, lane_bytes: int) -> list[slice]:
    """Return the lanes of an eager stack in blocks: one, unless it is larger than the cache."""
    return _blocks(num, lane_bytes, _EAGER_CACHE)


def _blocks(num: int, lane_bytes: int, cache: int) -> list[slice]:
    most = max(_FEWEST, cache // (_COPIES * lane_bytes))
    count = math.ceil(num / most)
    bounds = [round(num * part / count) for part in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(bounds)]
