"""lr*: the one absolute rate of an optimizer that is best over the meta-training family.

An agent that had only memorised this rate could do no better than to go there, whatever rate it
is given: arm `lr-star` does just that, with cosine decay. `experiments.meta_test.lr_star` measures
it on the family's own trainings, never on a target, for all of them and for each kind alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lr_env.errors import DataError

LR_STAR_FILE = Path(__file__).parent.parent / "lr_star.json"


@dataclass(frozen=True)
class LrStar:
    """An optimizer's rate for one kind of trainings, and how it was found."""

    lr: float
    provenance: str


@cache
def lr_star(kind: str = "all", optimizer: str = "adam", path: Path = LR_STAR_FILE) -> LrStar:
    """Return the rate for all trainings or for one kind of them (`scratch`, `finetuning`).

    Adamax, which the family has not, takes Adam's. Raises DataError where none was measured.
    """
    name = "adam" if optimizer == "adamax" else optimizer
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        rates = stored if kind == "all" else stored["by_kind"][kind]
        return LrStar(float(rates[name]), str(stored["provenance"]["about"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path.name} has no rate of {name} for {kind!r} trainings: run python -m "
            "experiments.meta_test.lr_star."
        ) from error
