"""The meta-test's entries. Part A picks checkpoints; part B is reported and never used to pick.

`docs/meta-test.md` describes every entry; a change here is a change there and a new version.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from lr_env.errors import InvalidArgumentError, UnknownNameError
from lr_env.meta_test.spec import MetaTestSpec
from lr_env.meta_test.task import MetaTestTask
from lr_env.randomness import derive_seed
from lr_env.scoring import Entry
from lr_env.stack import StackSettings

SUITE_VERSION = 1
Role = Literal["scratch", "overfitting", "finetuning"]
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Base rates on a half-decade grid."""
SEEDS, TUNING_SEEDS = 16, 5
VALIDATION_SAMPLES = 128
"""Of the loss that an agent may be shown; the figures reported are of the whole split."""

CONTROL_RATES = (1e-5, 1e-4, 1e-3, 1e-2)
"""Base rates of the controls that work on top of one."""
PART_A_RATES = (1e-5, 3e-4, 1e-2)
PART_A_SEEDS = 4


@dataclass(frozen=True)
class MetaTestEntry:
    """One line of the suite: trainings of one spec under one set of settings.

    Attributes:
        name: of the entry.
        spec: data, network and sizes.
        role: which of the bars the entry belongs to.
        optimizer: of all arms.
        total_steps: mini-batches of a training.
        steps_per_action: mini-batches from decision to decision.
        about: what is outside the family, for people.
    """

    name: str
    spec: MetaTestSpec
    role: Role
    optimizer: str
    total_steps: int
    steps_per_action: int
    about: str

    @property
    def adam_like(self) -> bool:
        """Whether the bars hold for its optimizer."""
        return self.optimizer.startswith("adam")

    def task(self, seed: int) -> MetaTestTask:
        """Return the instance of `seed`."""
        return MetaTestTask(self.spec, seed)

    def settings(self) -> StackSettings:
        """Return what its trainings share, whatever the arm."""
        return StackSettings(
            optimizer=self.optimizer,
            total_steps=self.total_steps,
            steps_per_action=self.steps_per_action,
            validation_samples=VALIDATION_SAMPLES,
        )

    def seeds(self, turns: range, use: Literal["report", "tuning"] = "report") -> list[int]:
        """Return the paired seeds `turns` of one use; those of the other use are others.

        Raises InvalidArgumentError where there is none, or one below 0.
        """
        if not turns or min(turns) < 0:
            raise InvalidArgumentError(f"There is no such range of seeds: {turns}.")
        return [derive_seed(turn, "meta-test", self.name, use) % 2**31 for turn in turns]


def part_a(shown: bool = False) -> list[Entry]:
    """Return the entries that checkpoints are picked on, as `lr_env.scoring` takes them.

    The lanes of an entry start from `PART_A_RATES`, each rate `PART_A_SEEDS` times. They are the
    same trainings whether they are `shown` their validation losses or not.
    """
    rates = PART_A_RATES * PART_A_SEEDS
    return [
        Entry(
            name=f"a-{entry.name}",
            task=partial(MetaTestTask, entry.spec),
            settings=replace(
                entry.settings(), lane_rates=rates, validation_seen=1.0 if shown else 0.0
            ),
            lanes=len(rates),
        )
        for entry in PART_A
    ]


def part_b(names: tuple[str, ...] = ()) -> list[MetaTestEntry]:
    """Return the reported entries of these names, all if none is given.

    Raises UnknownNameError for a name that there is not.
    """
    known = {entry.name: entry for entry in PART_B}
    for name in names:
        if name not in known:
            raise UnknownNameError("meta-test entry", name, known)
    return [known[name] for name in names or known]


PART_A = (
    MetaTestEntry(
        "averaged-cnn",
        MetaTestSpec("gratings", "averaged_cnn", 2, 6, 2, 4, 1500, 512, label_noise=0.1),
        "scratch", "adam", 100, 4,
        "convolutions of stride 1 and an average over places, on gratings",
    ),
    MetaTestEntry(
        "wide-mlp",
        MetaTestSpec("waves", "mlp", 1, 160, 6, 3, 2000, 512),
        "scratch", "adam", 200, 5,
        "one hidden layer of 160 units on a periodic concept",
    ),
    MetaTestEntry(
        "deep-mlp",
        MetaTestSpec("shells", "normalised_mlp", 6, 28, 6, 3, 2000, 512, batch_size=64),
        "scratch", "adamw", 200, 4,
        "six normalised hidden layers on nested shells",
    ),
    MetaTestEntry(
        "sequence",
        MetaTestSpec(
            "copy_first", "transformer", 1, 14, 9, 4, 1000, 512, batch_size=16, label_noise=0.1
        ),
        "scratch", "adam", 200, 4,
        "a pre-LayerNorm transformer that has to find the first token",
    ),
    MetaTestEntry(
        "noisy-labels",
        MetaTestSpec("breast_cancer", "mlp", 1, 128, 30, 2, 150, 400, label_noise=0.3),
        "overfitting", "adam", 200, 4,
        "150 rows, three labels in ten drawn at random, 128 hidden units",
    ),
    MetaTestEntry(
        "scenes",
        MetaTestSpec(
            "scenes", "mlp", 1, 56, 36, 3, 96, 512, batch_size=16, pretrained=True, pool=100
        ),
        "finetuning", "adam", 200, 4,
        "fine-tuning of a network that was pretrained to name objects",
    ),
)  # fmt: skip

PART_B = (
    MetaTestEntry(
        "pooled-cnn",
        MetaTestSpec("digits", "pooled_cnn", 2, 6, 1, 10, 1000, 797),
        "scratch", "adam", 200, 4,
        "convolutions of stride 1 with max-pooling, on handwritten digits",
    ),
    MetaTestEntry(
        "wide-mlp",
        MetaTestSpec("digits", "mlp", 2, 256, 64, 10, 1000, 797),
        "scratch", "adam", 250, 5,
        "two hidden layers of 256 units (family: at most 64)",
    ),
    MetaTestEntry(
        "deep-mlp",
        MetaTestSpec("shells", "mlp", 8, 40, 10, 3, 3000, 1024, batch_size=64),
        "scratch", "adam", 400, 4,
        "eight hidden layers without normalisation (family: at most 4)",
    ),
    MetaTestEntry(
        "sequence",
        MetaTestSpec("first_of", "transformer", 2, 22, 10, 4, 3000, 1024, batch_size=16),
        "scratch", "adamw", 300, 4,
        "a pre-LayerNorm transformer that has to compare the places of four tokens",
    ),
    MetaTestEntry(
        "noisy-labels",
        MetaTestSpec("digits", "mlp", 1, 384, 64, 10, 300, 797, label_noise=0.3),
        "overfitting", "adam", 500, 5,
        "300 samples, three labels in ten drawn at random, 384 hidden units",
    ),
    MetaTestEntry(
        "scenes",
        MetaTestSpec("scenes", "mlp", 2, 64, 40, 4, 96, 1024, batch_size=16, pretrained=True),
        "finetuning", "adam", 600, 5,
        "fine-tuning, on 96 samples, of a network that was pretrained to name objects",
    ),
    MetaTestEntry(
        "topics",
        MetaTestSpec(
            "topics", "transformer", 2, 24, 12, 4, 96, 1024, batch_size=16, pretrained=True
        ),
        "finetuning", "adamw", 200, 4,
        "fine-tuning, on 96 samples, of a transformer that was pretrained to name topics",
    ),
    MetaTestEntry(
        "small-batch",
        MetaTestSpec("breast_cancer", "mlp", 2, 40, 30, 2, 300, 269, batch_size=8),
        "scratch", "adam", 500, 5,
        "mini-batches of 8 (family: 16 to 128)",
    ),
    MetaTestEntry(
        "large-batch",
        MetaTestSpec("waves", "mlp", 3, 48, 8, 3, 4000, 1024, batch_size=256),
        "scratch", "adam", 150, 3,
        "mini-batches of 256 (family: 16 to 128)",
    ),
    MetaTestEntry(
        "short",
        MetaTestSpec("digits", "mlp", 1, 96, 64, 10, 1000, 797),
        "scratch", "adam", 100, 5,
        "digits and 96 units; 100 steps are no longer outside the family",
    ),
    MetaTestEntry(
        "long",
        MetaTestSpec("shells", "mlp", 2, 36, 8, 4, 4000, 1024),
        "scratch", "adam", 3500, 5,
        "3,500 steps and 700 decisions (family: at most 2,880 and 60)",
    ),
    MetaTestEntry(
        "adamax",
        MetaTestSpec("digits", "normalised_mlp", 2, 80, 64, 10, 1000, 797),
        "scratch", "adamax", 300, 5,
        "an optimizer of Adam's kind that the family has not",
    ),
    MetaTestEntry(
        "sgd",
        MetaTestSpec("digits", "mlp", 2, 72, 64, 10, 1000, 797),
        "scratch", "sgd", 300, 5,
        "SGD with momentum: reported, outside the bars",
    ),
)  # fmt: skip
