"""Arms by name: `adam`, `adam@0.01`, `adam-cosine@best`, and `adam-wsd:3` for three seeds of it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from experiments.arms.lr_star import lr_star
from experiments.arms.methods import METHODS, OPTIMIZER_WORDS, PILOT_WORDS, Method
from lr_env.errors import InvalidArgumentError, UnknownNameError

HIGHEST_LR = 1000.0
"""Above it, float32 overflows before anything is learned about the method."""
BEST = "best"

_ARM = re.compile(r"([a-z][a-z0-9-]*)(?:@([0-9.eE+-]+|best))?(?::([0-9]+))?")


@dataclass(frozen=True)
class Arm:
    """A method and the base rate that it starts from.

    Attributes:
        lr: base rate; 0 in a tuned arm whose trials have not been looked at yet.
        tuned: whether the rate is the best of a grid, found on validation data.
    """

    method_name: str
    lr: float
    tuned: bool = False

    @property
    def method(self) -> Method:
        """What the arm does."""
        return METHODS[self.method_name]

    @property
    def name(self) -> str:
        """The name that selects it: `adam`, `adam@0.01`, `adam@best`."""
        if self.tuned:
            return f"{self.method_name}@{BEST}"
        return self.method_name if self.has_own_rate else f"{self.method_name}@{self.lr:.12g}"

    @property
    def label(self) -> str:
        """The name for people; the base rate is part of it where it is not the method's own."""
        if self.tuned:
            return f"{self.method.label}, tuned"
        return self.method.label if self.has_own_rate else f"{self.method.label}, from {self.lr:g}"

    @property
    def description(self) -> str:
        """What exactly the arm does."""
        method = self.method
        text = f"{OPTIMIZER_WORDS[method.optimizer]}, base rate {self.lr:g}{self._source()}"
        text += f", {method.schedule_words}"
        if method.layer_decay is not None:
            text += f", times {method.layer_decay:g} from each transformer layer to the one below"
        if method.z_max is None:
            return text
        if method.pilot != "agent":
            own = PILOT_WORDS[method.pilot]
            return f"{text}, under the policy's own start and schedule, and {own}"
        start = (
            "scale 1" if method.z_init == "zero" else "its policy's own start, under its schedule"
        )
        shown = ", and is shown the validation loss of all 20 readings"
        return (
            f"{text}; the agent scales every layer's rate by up to 2^{method.z_max:g} either way, "
            f"from {start}{shown if method.sees_validation else ''}"
        )

    @property
    def has_policy(self) -> bool:
        """Whether a frozen policy is needed, be it for a control."""
        return self.method.z_max is not None

    @property
    def is_agent(self) -> bool:
        """Whether a frozen policy is at work, and not a control of it."""
        return self.has_policy and self.method.pilot == "agent"

    @property
    def has_own_rate(self) -> bool:
        """Whether it starts from the rate that its method has if none is given."""
        return self.lr == own_rate(self.method_name)

    @property
    def settled(self) -> Arm:
        """The arm by its rate alone: a tuned arm's runs are those of any arm at that rate."""
        return replace(self, tuned=False)

    def at(self, lr: float) -> Arm:
        """Return this arm with another base rate."""
        return replace(self, lr=lr)

    def _source(self) -> str:
        if self.tuned:
            agent = f", with the trials of {self.method.tuned_as}" if self.is_agent else ""
            return f" (the best of a grid on validation data{agent})"
        if self.method.lr is None:
            return f" (lr* of the meta-training family: {lr_star(self.method.lr_star).provenance})"
        return ""


def own_rate(method_name: str) -> float:
    """Return the base rate that a method starts from if none is given."""
    method = METHODS[method_name]
    return lr_star(method.lr_star).lr if method.lr is None else method.lr


def parse_arms(text: str) -> list[Arm]:
    """Return the arms named in `text`, separated by spaces or commas, each once.

    Raises:
        UnknownNameError, InvalidArgumentError: no such method, or no such rate.
    """
    return list(parse_seeds(text))


def parse_seeds(text: str) -> dict[Arm, int | None]:
    """Return the arms named in `text`, each with its number of seeds, None where it has none.

    Raises:
        UnknownNameError, InvalidArgumentError: no such method or rate; an arm is there twice with
            different numbers.
    """
    arms: dict[Arm, int | None] = {}
    for word in re.split(r"[\s,]+", text.strip()):
        if word:
            arm, seeds = _parse(word)
            if arms.setdefault(arm, seeds) != seeds:
                raise InvalidArgumentError(
                    f"Arm {arm.name} is there twice, with other numbers of seeds: leave one out."
                )
    if not arms:
        raise InvalidArgumentError(f"No arms given; there are {', '.join(METHODS)}.")
    return arms


def _parse(word: str) -> tuple[Arm, int | None]:
    match = _ARM.fullmatch(word)
    name = match[1] if match else re.split("[@:]", word)[0]
    if name not in METHODS:
        raise UnknownNameError("arm", name, METHODS)
    seeds = int(match[3]) if match and match[3] else None
    return _arm(word, name, match[2] if match else ""), seeds


def _arm(word: str, name: str, given: str | None) -> Arm:
    if given is None:
        return Arm(name, own_rate(name))
    if METHODS[name].lr is None:
        raise InvalidArgumentError(
            f"Arm {word!r}: {name} goes to its own rate, whatever the base: leave out @{given}."
        )
    if given == BEST:
        if METHODS[name].tuned_as is None:
            raise InvalidArgumentError(
                f"Arm {word!r}: {name} has no grid to be tuned on: leave out @{BEST}, or give it a "
                "base rate."
            )
        return Arm(name, 0.0, tuned=True)
    return Arm(name, _rate(word, given))


def _rate(word: str, given: str) -> float:
    try:
        lr = float(given)
    except ValueError:
        lr = math.nan
    if not 0.0 < lr <= HIGHEST_LR:
        raise InvalidArgumentError(
            f"Arm {word!r}: what follows @ is a learning rate above 0 and up to {HIGHEST_LR:g}, or "
            f"{BEST!r}; what follows : is a number of seeds."
        )
    return lr
