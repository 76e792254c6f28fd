"""What a meta-training run can be told; every field is a command-line flag."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from agents.features import check_groups
from lr_env.errors import InvalidArgumentError, UnknownNameError

ALGORITHMS = ("ppo", "dqn")
WIDE_STARTS = ("matched", "calibrated", "cautious")
DEFAULT_STEPS = {"ppo": 440_000, "dqn": 350_000}
"""Less than a quarter of an hour on two slow cores, the report included."""
PRESETS = {
    "measured": {"gamma": 0.999, "learning_rate": 5e-4},
    "plan": {"gamma": 0.99, "learning_rate": 1e-4},
}
"""What `gamma` and `learning_rate` are where they are not given (docs/LOG.md has the figures)."""
_POLICY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
DEVELOPED_ON = ("cifar10", "digits", "imdb", "sst2", "titanic")
"""Tasks by whose validation data something of the defaults was chosen: policies' cards say so."""


@dataclass(frozen=True)
class PPOConfig:
    """Stable-Baselines3's PPO, sized to slots: a rollout is `n_steps` decisions of them all."""

    COUNTS: ClassVar = ("n_steps", "minibatches", "n_epochs")

    n_steps: int = 70
    """Decisions of every training between two updates of the agent: what has not ended by then
    teaches nothing."""
    minibatches: int = 40
    """Equal mini-batches that a rollout is divided into."""
    n_epochs: int = 4
    """Passes over a rollout."""
    clip_range: float = 0.8
    """How far an update may take the probability of an action from what it was, as a ratio."""
    gae_lambda: float = 1.0
    """Lambda of what the critic learns; advantages are of whole trainings and do not ask it."""
    prior_coef: float = 0.3
    """Weight of the divergence from the untrained policy: what does not pay is not done."""
    plateau_step: float = 0.3
    """How far the untrained policy lowers rates at every decision where a validation loss is seen
    and had no new best for a tenth of the training (agents/plateau.py); 0: it changes nothing."""
    log_std_init: float = -1.4
    """Logarithm of the exploration noise's first standard deviation."""
    noise_memory: float = 0.9
    """Correlation of the exploration noise with that of the decision before; 0: white noise."""


@dataclass(frozen=True)
class DQNConfig:
    """Stable-Baselines3's DQN, sized to slots."""

    COUNTS: ClassVar = (
        "hold", "buffer_size", "batch_size", "gradient_steps", "n_step_return", "target_update",
    )  # fmt: skip

    epsilon: float = 0.1
    """Share of random actions, from start to end."""
    hold: int = 10
    """Decisions that a random action is held, on average; 1: the usual epsilon-greedy."""
    margin: float = 0.05
    """Return that an action has to promise above the one that changes nothing, to be taken; in the
    exported policy, too."""
    buffer_size: int = 400_000
    """Slot decisions kept for replay."""
    batch_size: int = 512
    """Slot decisions in a mini-batch of the agent."""
    gradient_steps: int = 24
    """Updates of the agent after each decision of all trainings."""
    n_step_return: int = 10
    """Rewards summed before the value estimate takes over."""
    target_update: int = 10
    """Decisions of all trainings between two refreshes of the target network."""


@dataclass(frozen=True)
class TrainConfig:
    """Meta-train an agent on the family of small trainings, and export it as a frozen policy."""

    algo: str = "ppo"
    """Algorithm: ppo (continuous actions) or dqn (five discrete actions)."""
    steps: int | None = None
    """Budget in slot decisions (one action for one layer); the algorithm's default if not given."""
    minutes: float | None = None
    """Stop after so many minutes even if steps are left; a seed no longer fixes the result."""
    seed: int = 42
    """Seed of everything."""
    resume: str | None = None
    """Run folder to go on with, or `latest`; its own settings are used."""
    out: Path = Path("runs/train")
    """Folder that run folders are made in."""
    name: str | None = None
    """Name on the exported policy's card; the run folder's name if not given."""
    preset: str | None = None
    """Discount and learning rate: measured (0.999, 5e-4; the default), or the experiment plan's
    (0.99, 1e-4)."""
    gamma: float | None = None
    """Discount; the preset's if not given."""
    learning_rate: float | None = None
    """The agent's own learning rate; the preset's if not given."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the policy's hidden layers."""
    stacks: int = 10
    """Architectures trained on at once."""
    renew_every: int = 1
    """Rollouts of PPO after which some of them give way to others of their kind; 0: never."""
    renewed: int = 10
    """How many give way at a time, all at most: what a stack's trainings ask for differs so much
    from one to the next that few of them teach little of others (docs/LOG.md)."""
    slots: int = 90
    """Layers of each architecture that are trained at once, a third as many of convolutional
    ones; so many trainings as make them up, a multiple of the twins."""
    twins: int = 4
    """Trainings of each instance that the agent is judged against each other on; 1: none."""
    branches: int = 0
    """Turns at stacks of trainings held some octaves from their starts, from whose ends PPO's actor
    is begun (agents/branches.py), 120 in some eight minutes; 0: none, docs/LOG.md has why."""
    branch_instances: int = 2
    """Instances in each of them; one where they are of images."""
    shared_noise: float = 0.5
    """Share of trainings whose layers all explore with the same random number."""
    validation_seen: float = 0.5
    """Share of trainings that observe their validation loss."""
    averaging: float = 0.8
    """Share of the averaged weights that an update of the agent keeps; 0: the last weights."""
    features_off: tuple[str, ...] = ("length",)
    """Feature groups that the agent does not see (agents/features.py): the start is matched to how
    long a training is, and those of users are longer than any that an agent learns from."""
    action_mode: str = "incremental"
    """What actions do: incremental (a step) or residual (a place in the envelope)."""
    start: str = "matched"
    """Start of the wide envelope: matched to budget and data or calibrated to the budget alone
    (both with a linear schedule of its own), or cautious."""
    ceiling: float = 2.0
    """Of the policy that is exported, in multiples of the usual limits; 0: none. The trainings
    have none: an agent that can do no harm does not learn what harm is (docs/LOG.md)."""
    pretrained_reach: float = 0.0
    """How far actions move pretrained layers from their start, octaves; 0: such layers keep start
    and schedule, since actions did no good to encoders (docs/LOG.md)."""
    shared_action: bool | None = None
    """Whether, of the policy that is exported, every layer that may move gets the mean of their
    actions; if not given, unless there are branches, which tell layers apart. In the trainings each
    layer gets its own, since agents explore and learn more by it; of what PPO and DQN learn alone
    the mean is better (docs/LOG.md)."""
    schedules: str = "mixed"
    """Base schedules of trainings whose envelope has none of its own: mixed or constant."""
    fine_tuning: bool = True
    """Whether one of ten stacks fine-tunes pretrained networks."""
    by_heart: bool = True
    """Whether two of ten stacks pass dozens of times over little, noisy data."""
    by_heart_seen: float = 0.5
    """Share of their trainings that observe their validation loss."""
    rehearsal: bool = True
    """Whether three more of ten stacks pass often over clean data whose classes can be told apart,
    or that there is plenty of; holding back costs there, and what tells them from the former is
    worth learning."""
    reward: str = "progress"
    """Reward: potential (shaped, telescopes under discounting) or progress."""
    score_every: int = 4
    """Agent updates (PPO: rollouts; DQN: rollouts' worth of decisions) between two scores."""
    checkpoint_seconds: float = 60.0
    """Seconds between two checkpoints."""
    workers: int = 2
    """Processes that the stacks are spread over; the result does not depend on it."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """Settings of PPO."""
    dqn: DQNConfig = field(default_factory=DQNConfig)
    """Settings of DQN."""

    def __post_init__(self) -> None:
        if self.algo not in ALGORITHMS:
            raise UnknownNameError("algorithm", self.algo, ALGORITHMS)
        if self.preset is not None and self.preset not in PRESETS:
            raise UnknownNameError("preset", self.preset, tuple(PRESETS))
        check_groups(self.features_off)
        if self.action_mode not in ("incremental", "residual"):
            raise UnknownNameError("action mode", self.action_mode, ("incremental", "residual"))
        if self.start not in WIDE_STARTS:
            raise UnknownNameError("start", self.start, WIDE_STARTS)
        if self.schedules not in ("mixed", "constant"):
            raise UnknownNameError("schedules", self.schedules, ("mixed", "constant"))
        if self.reward not in ("potential", "progress"):
            raise UnknownNameError("reward", self.reward, ("potential", "progress"))
        for name in (
            "steps", "minutes", "stacks", "renewed", "slots", "twins", "workers", "score_every",
            "branch_instances", "learning_rate",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InvalidArgumentError(f"{name} must be above zero, not {value}.")
        if not all(width >= 1 for width in self.hidden):
            raise InvalidArgumentError(f"hidden are widths of at least 1, not {self.hidden}.")
        for own in (self.ppo, self.dqn):
            for name in own.COUNTS:
                if getattr(own, name) < 1:
                    raise InvalidArgumentError(
                        f"{name} must be at least 1, not {getattr(own, name)}."
                    )
        if self.name is not None and not _POLICY_NAME.fullmatch(self.name):
            raise InvalidArgumentError(
                "name is of letters, digits, '.', '_' and '-', 64 at most, not "
                f"{self.name!r}: folders are called by it."
            )
        for name in ("renew_every", "branches"):
            if getattr(self, name) < 0:
                raise InvalidArgumentError(f"{name} must be at least 0, not {getattr(self, name)}.")
        for name in ("ceiling", "pretrained_reach", "checkpoint_seconds"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InvalidArgumentError(f"{name} must be at least 0, not {getattr(self, name)}.")
        for name, share in (
            ("noise_memory", self.ppo.noise_memory), ("averaging", self.averaging),
        ):  # fmt: skip
            if not 0.0 <= share < 1.0:
                raise InvalidArgumentError(f"{name} must be in [0, 1), not {share}.")
        for name, share in (
            ("gae_lambda", self.ppo.gae_lambda), ("epsilon", self.dqn.epsilon),
            ("shared_noise", self.shared_noise), ("validation_seen", self.validation_seen),
            ("by_heart_seen", self.by_heart_seen),
        ):  # fmt: skip
            if not 0.0 <= share <= 1.0:
                raise InvalidArgumentError(f"{name} must be in [0, 1], not {share}.")
        if not math.isfinite(self.ppo.log_std_init):
            raise InvalidArgumentError(
                f"log_std_init must be a finite number, not {self.ppo.log_std_init}."
            )
        if not 0.0 < self.ppo.clip_range < math.inf:
            raise InvalidArgumentError(f"clip_range must be above zero, not {self.ppo.clip_range}.")
        if not 0.0 <= self.ppo.prior_coef < math.inf:
            raise InvalidArgumentError(f"prior_coef must be at least 0, not {self.ppo.prior_coef}.")
        if not 0.0 <= self.ppo.plateau_step <= 1.0:
            raise InvalidArgumentError(
                f"plateau_step must be in [0, 1], not {self.ppo.plateau_step}."
            )
        if not 0.0 <= self.dqn.margin < math.inf:
            raise InvalidArgumentError(f"margin must be at least 0, not {self.dqn.margin}.")
        if self.gamma is not None and not 0.0 < self.gamma <= 1.0:
            raise InvalidArgumentError(f"gamma must be in (0, 1], not {self.gamma}.")
        # A constant action has to come to a constant offset.
        if self.branches and (self.action_mode == "residual" or self.start == "cautious"):
            raise InvalidArgumentError(
                "branches need incremental actions and a start with a leak (matched or calibrated)."
            )
        if self.seed < 0:
            raise InvalidArgumentError(f"seed must be at least 0, not {self.seed}.")

    @property
    def budget(self) -> int:
        """The number of slot decisions to make."""
        return DEFAULT_STEPS[self.algo] if self.steps is None else self.steps

    @property
    def resolved_branches(self) -> int:
        """The number of stacks of branches: PPO's; DQN's values are of other actions."""
        return self.branches if self.algo == "ppo" else 0

    @property
    def resolved_shared_action(self) -> bool:
        """Whether layers share an action in the policy that is exported."""
        return not self.resolved_branches if self.shared_action is None else self.shared_action

    @property
    def _preset(self) -> dict[str, float]:
        return PRESETS[self.preset or "measured"]

    @property
    def resolved_gamma(self) -> float:
        """The discount, given or the preset's."""
        return self._preset["gamma"] if self.gamma is None else self.gamma

    @property
    def resolved_learning_rate(self) -> float:
        """The agent's learning rate, given or the preset's."""
        given = self.learning_rate
        return self._preset["learning_rate"] if given is None else given

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; discount and learning rate as they come to be."""
        return {
            **asdict(self),
            "out": str(self.out),
            "gamma": self.resolved_gamma,
            "learning_rate": self.resolved_learning_rate,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """Rebuild a config from `to_dict`.

        Raises:
            ValueError: settings are missing or unknown, as in those of another version: what is
                missing then was not what is the default now.
        """
        for own, given in ((cls, values), (PPOConfig, values["ppo"]), (DQNConfig, values["dqn"])):
            if {one.name for one in fields(own)} != set(given):
                raise ValueError("settings of another version")
        return cls(**{
            **values,
            "out": Path(values["out"]),
            "hidden": tuple(values["hidden"]),
            "features_off": tuple(values["features_off"]),
            "ppo": PPOConfig(**values["ppo"]),
            "dqn": DQNConfig(**values["dqn"]),
        })  # fmt: skip
