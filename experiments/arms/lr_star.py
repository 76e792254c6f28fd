"""lr*: the one absolute rate that is best over the meta-training family.

An agent that had only memorised this rate could do no better than to go there, whatever rate it
is given: arm `lr-star` does just that, with cosine decay. `experiments.meta_test.lr_star` measures
it on the family's own trainings, never on a target, for all of them and for fine-tuning alone.
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
    """Adam's rate for one kind of trainings, and how it was found."""

    lr: float
    provenance: str


@cache
def lr_star(kind: str = "all") -> LrStar:
    """Return the rate for all trainings or for one kind of them.

    Raises InvalidArgumentError where none was measured.
    """
    try:
        stored = json.loads(FILE.read_text(encoding="utf-8"))
        rates = stored if kind == "all" else stored["by_kind"][kind]
        return LrStar(float(rates["adam"]), str(stored["provenance"]["about"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(
            f"{FILE.name} has no rate for {kind!r} trainings: run python -m "
            "experiments.meta_test.lr_star."
        ) from error
