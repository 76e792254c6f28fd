"""What a kind of training in the family is: architecture, sizes, data; a seed draws the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from lr_env.errors import InvalidArgumentError
from lr_env.randomness import numpy_generator

Architecture = Literal[
    "mlp", "residual_mlp", "cnn", "residual_cnn", "transformer", "finetune"
]  # fmt: skip
InputKind = Literal["vector", "image", "tokens"]

# Fine-tuning and deep normalised networks are where rates learned from small MLPs went wrong.
_TURNS: tuple[Architecture, ...] = (
    "mlp", "transformer", "finetune", "residual_mlp", "cnn",
    "residual_cnn", "mlp", "residual_mlp", "residual_cnn", "transformer",
)  # fmt: skip
_OPTIMIZERS = ("adam", "adamw", "adam", "adam", "sgd", "adamw", "adam", "adam", "adamw", "rmsprop")
# Attention on two cores is dear: its share of the family is kept shallow.
_DEEPEST = {
    "mlp": 4, "transformer": 3, "finetune": 2, "residual_mlp": 3, "cnn": 2, "residual_cnn": 6,
}  # fmt: skip
# Milliseconds of a block's step, whatever its size (20 stacks of two seeds, one core).
_BLOCK_COST = {"residual_cnn": 7.0, "transformer": 3.2, "residual_mlp": 1.5}
_BATCHES: dict[InputKind, tuple[int, ...]] = {
    "vector": (16, 32, 32, 64, 128), "image": (16, 32), "tokens": (16,),
}  # fmt: skip
_DATA: dict[InputKind, tuple[str, ...]] = {
    "vector": ("clusters", "teacher", "deep_teacher", "islands", "linear", "sectors"),
    "image": ("prototypes", "sprites", "bars", "filters"),
    "tokens": ("majority", "marker", "lookup", "pairs"),
}


@dataclass(frozen=True)
class FamilySpec:
    """All that fixes shapes, so that trainings of one spec can be stacked.

    Attributes:
        architecture: kind of network.
        depth: hidden layers or blocks.
        width: hidden units, channels or model width.
        activation: `relu`, `tanh` or `gelu`.
        normalised: whether an mlp or cnn has normalisation layers.
        inputs: `vector`, `image` (8 by 8) or `tokens`.
        size: features of a vector, channels of an image, tokens of a sequence.
        classes: number of classes.
        train_size, validation_size, test_size: samples in each split.
        batch_size: mini-batch size.
        data: names of the generators that instances draw from.
        label_noise: largest share of labels drawn at random.
        optimizer: the optimizer that goes with it.
    """

    architecture: Architecture
    depth: int
    width: int
    activation: str
    normalised: bool
    inputs: InputKind
    size: int
    classes: int
    train_size: int
    batch_size: int
    data: tuple[str, ...]
    label_noise: float
    optimizer: str
    validation_size: int = 128
    test_size: int = 128

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "data": list(self.data)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FamilySpec:
        """Rebuild a spec from `to_dict`. Raises InvalidArgumentError for other keys."""
        names = {own.name for own in fields(cls)}
        if set(values) != names:
            raise InvalidArgumentError(f"A family spec has the keys {sorted(names)}.")
        return cls(**{**values, "data": tuple(values["data"])})

    def step_cost(self, trainings: int) -> float:
        """Return a rough guess of the milliseconds that so many trainings' step takes together."""
        residual = self.architecture == "residual_cnn"
        positions = {"tokens": 4 * self.size, "image": 64 if residual else 32, "vector": 1}
        numbers = trainings * self.batch_size * positions[self.inputs] * self.width * self.depth
        return 1.5 + _BLOCK_COST.get(self.architecture, 0.8) * self.depth + 1.5e-5 * numbers


def sample_spec(seed: int) -> FamilySpec:
    """Draw a spec of any architecture."""
    random = numpy_generator(seed, "family spec")
    return _draw(random, int(random.integers(len(_TURNS))))


def family_specs(seed: int, count: int) -> list[FamilySpec]:
    """Draw `count` specs with architectures and optimizers in even shares."""
    return [family_spec(seed, turn) for turn in range(count)]


def family_spec(seed: int, turn: int, generation: int = 0) -> FamilySpec:
    """Draw spec `turn` of a mix, or the `generation`-th of its kind that takes its place."""
    names = (turn, generation) if generation else (turn,)
    spec = _draw(numpy_generator(seed, "family specs", *names), turn)
    # Three is prime to their number: every kind comes by every optimizer.
    return replace(spec, optimizer=_OPTIMIZERS[(turn + 3 * generation) % len(_OPTIMIZERS)])


def held_out_specs() -> list[FamilySpec]:
    """Return the specs that policies are scored on, one for each architecture.

    Widths of the family are multiples of 8 (of 4 in transformers); these are not, so that no
    meta-training draws any of them.
    """
    widths: dict[Architecture, int] = {
        "mlp": 52, "transformer": 18, "finetune": 30, "residual_mlp": 44, "cnn": 12,
        "residual_cnn": 12,
    }  # fmt: skip
    return [
        replace(
            _draw(numpy_generator(7, "held out", name), _TURNS.index(name)),
            width=width,
            optimizer="sgd" if name == "cnn" else "adam",
        )
        for name, width in widths.items()
    ]


def _draw(random: np.random.Generator, turn: int) -> FamilySpec:
    architecture = _TURNS[turn % len(_TURNS)]
    inputs = _inputs(random, architecture)
    kinds = _DATA[inputs]
    return FamilySpec(
        architecture=architecture,
        depth=int(random.integers(1, _DEEPEST[architecture] + 1)),
        width=_width(random, architecture),
        activation=str(random.choice(["relu", "tanh", "gelu"])),
        normalised=bool(random.random() < 0.5),
        inputs=inputs,
        size=_size(random, inputs, architecture),
        classes=int(random.integers(2, 11)) if inputs != "tokens" else int(random.integers(2, 5)),
        train_size=_train_size(random, architecture),
        batch_size=int(random.choice(_BATCHES[inputs])),
        data=("features",) if architecture == "finetune" else kinds,
        label_noise=float(random.choice([0.0, 0.0, 0.3])),
        optimizer=_OPTIMIZERS[turn % len(_OPTIMIZERS)],
    )


def _inputs(random: np.random.Generator, architecture: Architecture) -> InputKind:
    if architecture in ("cnn", "residual_cnn"):
        return "image"
    if architecture == "transformer":
        return "tokens"
    return "tokens" if architecture == "finetune" and random.random() < 0.6 else "vector"


def _width(random: np.random.Generator, architecture: Architecture) -> int:
    if architecture == "transformer":
        return 4 * int(random.integers(4, 9))
    low, high = {
        "cnn": (1, 3), "residual_cnn": (1, 3), "finetune": (4, 7), "residual_mlp": (3, 7),
    }.get(architecture, (2, 9))  # fmt: skip
    return 8 * int(random.integers(low, high))


def _size(random: np.random.Generator, inputs: InputKind, architecture: Architecture) -> int:
    if inputs == "image":
        return int(random.integers(1, 4))
    if inputs == "tokens":
        return int(random.integers(6, 11))
    # Wide inputs and little data: what a pretrained network forgets, it cannot learn again.
    return int(random.integers(24 if architecture == "finetune" else 4, 49))


def _train_size(random: np.random.Generator, architecture: Architecture) -> int:
    # Mostly more data than a small network can learn by heart: little data teaches low rates.
    low, high = (100, 600) if architecture == "finetune" else (500, 8000)
    return round(float(np.exp(random.uniform(np.log(low), np.log(high)))))
