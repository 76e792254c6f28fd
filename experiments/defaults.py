"""What is evaluated if nothing is said: arms, seeds and the tuning budget, by task and scale."""

from __future__ import annotations

from typing import Literal

from lr_env.tasks import DEFAULT_SCALE, Scale

Recipe = Literal["plan", "hf-warmup"]

ALL = "all"
TARGETS = ("titanic", "cifar10", "sst2", "imdb")
"""The experiment plan's targets, which `--task all` evaluates, the quickest first."""
TEXTS = ("imdb", "sst2")

_BUNDLED = ("adam", "adam-cosine", "adam-linear", "adam-plateau", "agent", "agent-narrow")
_VISION = ("adam", "adam-cosine", "agent", "agent-narrow")
_TEXT = ("adam", "adam-linear@5e-5", "agent", "agent-narrow-linear@5e-5")
_TRAINER = ("trainer", "trainer-agent", "trainer-agent-wide")
_ARMS = {"cifar10": _VISION, "imdb": _TEXT, "sst2": _TEXT}
"""The plan's baseline, the recipe that a practitioner would take, and the agent on either."""

FEWEST_SEEDS = 3
TITANIC_PAPER_SEEDS = 30
DOCUMENTED_SEEDS = {
    ("titanic", "paper"): TITANIC_PAPER_SEEDS, ("cifar10", "quick"): 10, ("sst2", "quick"): 5,
    ("imdb", "quick"): 5,
}  # fmt: skip
"""How many the protocol asks for of the default arms where results are published."""

TRAINER_BATCH = 16
"""Of recipe hf-warmup."""

RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""The grid of `name@best`: half decades."""
SMOKE_RATES = (1e-4, 1e-3, 1e-2)
TUNING_SEED = 1000
"""The first seed of the trials: none of them is among those reported."""


def default_scale(task: str, device: str) -> Scale:
    """Return the plan in full where a GPU makes it bearable and less was the alternative."""
    return "paper" if device == "cuda" and (task in _ARMS or task == ALL) else DEFAULT_SCALE


def default_arms(task: str, recipe: Recipe) -> tuple[str, ...]:
    """Return the arms of a task if none are named."""
    return _TRAINER if recipe == "hf-warmup" else _ARMS.get(task, _BUNDLED)


def default_seeds(task: str, scale: Scale) -> int:
    """Return the number of paired seeds: many where a run takes seconds."""
    if scale == "smoke" or task in _ARMS:
        return FEWEST_SEEDS
    return TITANIC_PAPER_SEEDS if (task, scale) == ("titanic", "paper") else 10


def default_budget(recipe: Recipe, epochs: int, batch_size: int) -> tuple[int, int]:
    """Return epochs and batch size of a recipe; `plan` has the task's own."""
    return (1, TRAINER_BATCH) if recipe == "hf-warmup" else (epochs, batch_size)


def tuning_grid(scale: Scale) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the rates and the seeds of every tuned arm's trials: the same for all of them."""
    rates = SMOKE_RATES if scale == "smoke" else RATES
    return rates, tuple(range(TUNING_SEED, TUNING_SEED + (3 if scale == "paper" else 1)))
