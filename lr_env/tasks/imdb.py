"""IMDB: is a film review good or bad (Maas et al. 2011)?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lr_env.tasks.scales import Scale
from lr_env.tasks.text_task import TextRecipe, TextTask


class Imdb(TextTask):
    """Film reviews of a few hundred words, as many bad ones as good ones; see `TextTask`."""

    name = "imdb"
    hub = "stanfordnlp/imdb"
    column = "text"
    recipes: ClassVar[Mapping[Scale, TextRecipe]] = {
        # training, validation and test rows, epochs, batch size, target accuracy
        "smoke": TextRecipe(32, 16, 16, 2, 8, 0.60, max_tokens=32),
        "quick": TextRecipe(1_000, 200, 1_000, 2, 16, 0.75, max_tokens=128, test_spent=500),
        "paper": TextRecipe(None, 2_500, None, 50, 32, 0.88, max_tokens=512),
    }
