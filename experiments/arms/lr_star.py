"""lr*: the one absolute rate that is best over the meta-training family.

An agent that had only memorised this rate could do no better than to go there, whatever rate it
is given: arm `lr-star` does just that, with cosine decay. The number is measured on the family's
own trainings, never on a target, and kept in `experiments/lr_star.json` with where it came from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lr_env.errors import InvalidArgumentError

FILE = Path(__file__).parent.parent / "lr_star.json"


@dataclass(frozen=True)
class LrStar:
    """The rate of one optimizer, and how it was found."""

    lr: float
    provenance: str


@cache
def lr_star(optimizer: str = "adam") -> LrStar:
    """Return the rate for `optimizer`. Raises InvalidArgumentError where none was measured."""
    try:
        stored = json.loads(FILE.read_text(encoding="utf-8"))
        return LrStar(float(stored[optimizer]), str(stored["provenance"]["about"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(
            f"{FILE.name} has no usable entry for {optimizer!r}: it maps optimizers to rates, and "
            "says what they are under provenance, about."
        ) from error
