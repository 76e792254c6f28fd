"""Methods: what can be done with a learning rate, and by which library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from lr_env.action import InitialScale

PLATEAU_PATIENCE = 2
"""Readings without progress, a tenth of the budget, that are put up with."""
GREEDY_RANGE = 100.0
LAYER_DECAY = 0.9
HYPERGRADIENT_LR = 1e-7
"""What Baydin et al. (2018) used with Adam on their multilayer perceptron."""

OptimizerName = Literal["adam", "schedule-free", "prodigy", "adam-hd", "trainer"]
PilotName = Literal[
    "agent", "nobody", "half", "layer-by-layer", "one-action", "one-rate", "shuffled", "random"
]
Schedule = Literal["constant", "cosine", "linear", "wsd", "onecycle", "reduce-on-plateau", "greedy"]


@dataclass(frozen=True)
class Method:
    """What an arm does with the learning rate.

    Attributes:
        label: for tables and pictures.
        schedule: base schedule.
        lr: base rate; None where it is lr*.
        lr_star: the kind of trainings that lr* is the best rate for: `all`, or `finetuning`.
        optimizer: Adam with torch's defaults but in the arms that bring their own.
        z_max: half-width of the agent's envelope; None where no agent is at work.
        z_init: where the agent's scales start; None where its policy says so.
        layer_decay: factor on the rate from each transformer layer to the one below it.
        tuned_as: the method whose trials find the rate of `name@best`; None where none does.
        package: what it needs beyond torch.
        recipe: the recipe that it belongs to.
        pilot: who acts: the agent, or a control that has its policy's start and schedule (nobody,
            nobody from half the start, its actions for each layer apart, their mean for all layers,
            its actions on other layers' observations, chance).
        sees_validation: whether the agent is shown the validation loss of every reading.
    """

    label: str
    schedule: Schedule = "constant"
    lr: float | None = 1e-3
    optimizer: OptimizerName = "adam"
    z_max: float | None = None
    z_init: InitialScale | None = "zero"
    layer_decay: float | None = None
    tuned_as: str | None = None
    package: str | None = None
    recipe: str = "plan"
    lr_star: str = "all"
    pilot: PilotName = "agent"
    sees_validation: bool = False

    @property
    def is_control(self) -> bool:
        """Whether it has an agent's start and schedule, and somebody or nobody else acts."""
        return self.pilot != "agent"

    @property
    def schedule_words(self) -> str:
        """What the schedule does, in words."""
        trainer = self.recipe == "hf-warmup" and self.schedule == "linear"
        return TRAINER_LINEAR_WORDS if trainer else SCHEDULE_WORDS[self.schedule]

    def to_dict(self) -> dict[str, Any]:
        """Return what decides runs; fields that came later are left out where they change none."""
        values = asdict(self)
        if self.pilot == "nobody":
            # The name that it had when there was no other control.
            values["acts"] = False
        if self.pilot in ("agent", "nobody"):
            del values["pilot"]
        if not self.sees_validation:
            del values["sees_validation"]
        return values


METHODS: dict[str, Method] = {
    "adam": Method("Adam, fixed", tuned_as="adam"),
    "adam-cosine": Method("Adam, cosine", "cosine", tuned_as="adam-cosine"),
    "adam-linear": Method("Adam, warm-up and linear", "linear", tuned_as="adam-linear"),
    "adam-onecycle": Method("Adam, one-cycle", "onecycle", tuned_as="adam-onecycle"),
    "adam-wsd": Method("Adam, warm-up-stable-decay", "wsd", tuned_as="adam-wsd"),
    "adam-plateau": Method("Adam, plateau", "reduce-on-plateau", tuned_as="adam-plateau"),
    "adam-greedy": Method(
        "Adam, GreedyLR", "greedy", tuned_as="adam-greedy", package="transformers"
    ),
    "adam-hd": Method("Adam, hypergradient", optimizer="adam-hd", tuned_as="adam-hd"),
    "adam-layerwise": Method(
        "Adam, layer-wise decay", "linear", 5e-5, layer_decay=LAYER_DECAY, tuned_as="adam-layerwise"
    ),
    "schedule-free": Method(
        "Schedule-Free AdamW", lr=2.5e-3, optimizer="schedule-free", tuned_as="schedule-free",
        package="schedulefree",
    ),
    "prodigy": Method("Prodigy", "cosine", 1.0, "prodigy", package="prodigyopt"),
    "lr-star": Method("Go to lr*, cosine", "cosine", None),
    "lr-star-finetuning": Method(
        "Go to lr* of fine-tuning, cosine", "cosine", None, lr_star="finetuning"
    ),
    "start": Method("The policy's start alone", z_max=14.0, z_init=None, pilot="nobody"),
    "half-start": Method("Half the policy's start", z_max=14.0, z_init=None, pilot="half"),
    "layer-by-layer": Method(
        "Layers act apart", z_max=14.0, z_init=None, pilot="layer-by-layer"
    ),
    "one-action": Method(
        "One action for all layers", z_max=14.0, z_init=None, pilot="one-action"
    ),
    "one-rate": Method("One rate for all layers", z_max=14.0, z_init=None, pilot="one-rate"),
    "shuffled": Method("Layers' observations shuffled", z_max=14.0, z_init=None, pilot="shuffled"),
    "random": Method("Random actions", z_max=14.0, z_init=None, pilot="random"),
    "agent": Method("Frozen agent", z_max=14.0, z_init=None),
    "agent-validation": Method(
        "Frozen agent shown validation losses", z_max=14.0, z_init=None, sees_validation=True
    ),
    "agent-narrow": Method("Frozen agent on cosine", "cosine", z_max=2.0, tuned_as="adam-cosine"),
    "agent-narrow-linear": Method(
        "Frozen agent on warm-up and linear", "linear", z_max=2.0, tuned_as="adam-linear"
    ),
    "trainer": Method(
        "HF Trainer's recipe", "linear", 5e-5, "trainer", package="transformers",
        recipe="hf-warmup",
    ),
    "trainer-agent": Method(
        "Frozen agent on the Trainer's recipe", "linear", 5e-5, "trainer", z_max=2.0,
        package="transformers", recipe="hf-warmup",
    ),
    "trainer-agent-wide": Method(
        "Frozen agent in the Trainer", "constant", 5e-5, "trainer", z_max=14.0, z_init=None,
        package="transformers", recipe="hf-warmup",
    ),
}  # fmt: skip

OPTIMIZER_WORDS: dict[OptimizerName, str] = {
    "adam": "Adam",
    "schedule-free": "Schedule-Free AdamW (Defazio et al. 2024), linear warm-up over a tenth of "
    "the steps, no weight decay",
    "prodigy": "Prodigy (Mishchenko and Defazio 2024), which estimates its own rate",
    "adam-hd": f"Adam with hypergradient descent of its rate (Baydin et al. 2018), step size "
    f"{HYPERGRADIENT_LR:g}",
    "trainer": "the Trainer's AdamW, weight decay 0.01, gradients clipped at 1",
}
TRAINER_LINEAR_WORDS = (
    "500 steps of linear warm-up at paper scale, below it the share that they are of an epoch over "
    "IMDB, linear decay to zero"
)
PILOT_WORDS: dict[PilotName, str] = {
    "nobody": "no actions",
    "half": "no actions, half the start of every layer that actions can move",
    "layer-by-layer": "the policy's own action for every layer, shared with no other",
    "one-action": "the mean of the policy's actions for all layers",
    "one-rate": "one rate for all layers: the mean of their starts, and the mean of their actions",
    "shuffled": "the policy's actions on what another layer observes, the same one throughout",
    "random": "actions drawn uniformly",
}
SCHEDULE_WORDS: dict[Schedule, str] = {
    "constant": "constant",
    "cosine": "cosine decay to zero",
    "linear": "linear warm-up over a tenth of the steps, linear decay to zero",
    "wsd": "linear warm-up over a tenth of the steps, constant, linear decay over the last fifth",
    "onecycle": "the peak of one cycle with torch's settings (OneCycleLR)",
    "reduce-on-plateau": "a tenth of it whenever the validation loss has not fallen for "
    f"{PLATEAU_PATIENCE} of the 20 readings (ReduceLROnPlateau)",
    "greedy": "raised and lowered by 5 % as the training loss falls or rises, smoothed over 50 "
    f"steps, within a factor of {GREEDY_RANGE:g} either way (transformers' GreedyLR)",
}
