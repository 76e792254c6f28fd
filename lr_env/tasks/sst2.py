"""SST-2: is a phrase of a film review good or bad (Socher et al. 2013; GLUE's version)?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lr_env.tasks.scales import Scale
from lr_env.tasks.subsets import Part
from lr_env.tasks.text_task import TextRecipe, TextTask


class Sst2(TextTask):
    """Sentences, and for training their phrases too; see `TextTask`.

    GLUE withholds the labels of its test split: its 872 validation sentences are the test rows
    here, and validation rows are drawn from the training phrases. A phrase may stand in both, as
    a part of another, so that validation accuracy is a little better than test accuracy.
    """

    name = "sst2"
    hub = "stanfordnlp/sst2"
    column = "sentence"
    parts: ClassVar[Mapping[Part, str]] = {"train": "train", "test": "validation"}
    recipes: ClassVar[Mapping[Scale, TextRecipe]] = {
        # training, validation and test rows, epochs, batch size, target accuracy
        "smoke": TextRecipe(32, 16, 16, 2, 8, 0.60, max_tokens=16),
        "quick": TextRecipe(3_000, 400, None, 2, 32, 0.80, max_tokens=32),
        "paper": TextRecipe(None, 2_000, None, 3, 32, 0.90, max_tokens=64),
    }
