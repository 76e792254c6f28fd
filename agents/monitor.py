"""Watching a meta-training run: progress, scores, exports and checkpoints as it goes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure

from agents.averaging import WeightAverage, rollouts_per_update
from agents.checkpoint import save_checkpoint
from agents.config import TrainConfig
from agents.curriculum import exported_envelope
from agents.export import freeze
from agents.features import seen_features
from agents.held_out import HeldOut
from agents.pictures import rate_trajectories
from agents.renewal import Renewal
from agents.run_folder import RunFolder
from agents.slots import SlotVecEnv
from lr_env.errors import LrEnvError
from lr_env.policy import FrozenPolicy

RESERVED_SCORES = 14
"""Time to leave for the last score and the report, in scores."""
RESERVED_SHARE = 0.2
"""Most of the time that is left for them: a score may take long on a machine that is busy."""


class Monitor(BaseCallback):
    """Keeps a run's figures; at the beginning of rollouts scores, exports and saves.

    What has to survive is in `memory`, which checkpoints carry.

    Args:
        config: of the run.
        folder: of the run.
        env: what the agent is trained on.
        renewal: of its stacks.
        console: to report to.
        about: what exported cards say of the run.
        began: time.monotonic() when this process began its work.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        env: SlotVecEnv,
        renewal: Renewal,
        console: Console,
        about: dict[str, Any],
        began: float,
    ) -> None:
        super().__init__()
        self.config = config
        self.memory: dict[str, Any] = {
            "rollouts": 0,
            "averaged": -1,
            "renewed": 0,
            "scored": -1,
            "untrained": None,
            "best": None,
            "seconds": 0.0,
        }
        self._folder, self._env, self._console, self._about = folder, env, console, about
        self._renewal = renewal
        self._held_out = HeldOut(env.workers)
        self._average = WeightAverage(config.averaging)
        self._began = self._saved = began
        self._before = 0.0
        self._scoring_seconds = 10.0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %  left {task.fields[left]}"),
            TextColumn("return {task.fields[reward]}  held-out {task.fields[score]}"),
            console=console,
        )
        self._bar: TaskID | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since this process began."""
        return time.monotonic() - self._began

    def restore(self, memory: dict[str, Any]) -> None:
        """Go on from a checkpoint's memory."""
        self.memory = {**self.memory, **memory}
        self._before = float(memory["seconds"])
        self._average.load_state_dict(memory["average"])
        # The last policy of a finished run may have been better than what was scored before; and
        # one that is not there, whatever became of it, is not the best.
        saved = saved_score(self._folder)
        if saved is None:
            self.memory["best"] = None
        else:
            self.memory["best"] = max(saved, self.memory["best"] or saved)

    def policy(self) -> FrozenPolicy:
        """Return the agent as it is now, its weights averaged, frozen."""
        trained = {
            "slot_decisions": int(self.model.num_timesteps),
            "seconds": round(self._before + self.elapsed, 1),
        }
        name = self.config.name or self._folder.path.name
        with self._average.applied(self.model):
            return freeze(
                self.model,
                name,
                exported_envelope(self.config),
                {**self._about, "trained": trained},
                seen_features(self.config.features_off),
            )

    def save(self) -> None:
        """Write a checkpoint; call it between rollouts only."""
        memory = {
            **self.memory,
            "seconds": self._before + self.elapsed,
            "average": self._average.state_dict(),
        }
        save_checkpoint(self._folder.checkpoint, self.model, self._env, self._renewal, memory)
        self._saved = time.monotonic()

    def log_score(self, score: float) -> None:
        """Write a held-out score down, with what else was recorded, where the run is now."""
        self.logger.record("held_out/potential", score)
        if isinstance(self.model, DQN):
            self.model.dump_logs()
        else:
            # Its own turn comes a rollout later, and would put the score there.
            self.logger.dump(self.model.num_timesteps)

    def _on_training_start(self) -> None:
        self._bar = self._progress.add_task(
            f"{self.config.algo}, seed {self.config.seed}",
            total=self.config.budget,
            completed=self.model.num_timesteps,
            left="?",
            reward="?",
            score=_figure(self.memory["best"]),
        )
        self._start = self.model.num_timesteps
        self._learning_began = self.elapsed
        self._progress.start()

    def _on_training_end(self) -> None:
        # Not on the grid of updates alone: what DQN learned since then is part of its last policy,
        # and in a short run all there is. No checkpoint keeps it; a run that is extended goes on
        # from what the grid had.
        if self.memory["rollouts"] != self.memory["averaged"]:
            self._average.update(self.model)
            self.memory["averaged"] = self.memory["rollouts"]
        self._progress.stop()

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def _on_rollout_start(self) -> None:
        rollouts = self.memory["rollouts"]
        per_update = rollouts_per_update(self.config)
        self._take_average()
        if rollouts != self.memory["renewed"]:
            self._renewal.after(rollouts)
            self.memory["renewed"] = rollouts
        per_score = per_update * self.config.score_every
        if rollouts % per_score == 0 and rollouts != self.memory["scored"]:
            self._score(rollouts)
        idle = time.monotonic() - self._saved
        if idle > self.config.checkpoint_seconds or not self._folder.checkpoint.exists():
            self.save()

    def _on_rollout_end(self) -> None:
        self.memory["rollouts"] += 1

    def _on_step(self) -> bool:
        if self._bar is not None:
            self._progress.update(
                self._bar,
                completed=self.model.num_timesteps,
                left=_clock(self._seconds_left()),
                reward=_figure(self._mean_return()),
            )
        return not self._out_of_time()

    def _out_of_time(self) -> bool:
        left = self._seconds_to_learn()
        return left is not None and left < 0.0

    def _seconds_to_learn(self) -> float | None:
        """Return what the cap on time leaves before the last score and the report, if there is."""
        if self.config.minutes is None:
            return None
        seconds = 60 * self.config.minutes
        reserved = min(RESERVED_SCORES * self._scoring_seconds, RESERVED_SHARE * seconds)
        return seconds - reserved - self.elapsed

    def _take_average(self) -> None:
        rollouts = self.memory["rollouts"]
        if rollouts % rollouts_per_update(self.config) == 0 and rollouts != self.memory["averaged"]:
            self._average.update(self.model)
            self.memory["averaged"] = rollouts

    def _score(self, rollouts: int) -> None:
        started = time.monotonic()
        policy = self.policy()
        mean = self._held_out.mean(policy)
        self.memory["scored"] = rollouts
        best = self.memory["best"]
        if self.model.num_timesteps == 0:
            # What learning begins from is a rival of its policies, and none of them.
            self.memory["untrained"] = mean
        elif best is None or mean > best:
            self.memory["best"] = mean
            save_best(policy, self._folder, mean)
        self._scoring_seconds = time.monotonic() - started
        self._picture(policy)
        self.log_score(mean)
        if self._bar is not None:
            self._progress.update(
                self._bar, score=f"{mean:.3f} (best {_figure(self.memory['best'])})"
            )
        self._console.print(
            f"{self.model.num_timesteps:>10,} slot decisions, {self.elapsed:5.0f} s: "
            f"return {_figure(self._mean_return())}, held-out {mean:.3f}"
        )

    def _picture(self, policy: FrozenPolicy) -> None:
        """Show on TensorBoard what the agent did last, and what its frozen policy does."""
        if "actions" in self.locals:
            actions = np.asarray(self.locals["actions"], dtype=np.float64).reshape(-1)
            self.logger.record("agent/actions", actions, exclude="csv")
        figure = Figure(rate_trajectories(policy), close=False)
        self.logger.record("held_out/learning_rates", figure, exclude="csv")

    def _mean_return(self) -> float | None:
        episodes = self.model.ep_info_buffer
        return float(np.mean([episode["r"] for episode in episodes])) if episodes else None

    def _seconds_left(self) -> float:
        done = self.model.num_timesteps - self._start
        spent = self.elapsed - self._learning_began
        left = spent * (self.config.budget - self.model.num_timesteps) / max(done, 1)
        capped = self._seconds_to_learn()
        return max(left if capped is None else min(left, capped), 0.0)


def save_best(policy: FrozenPolicy, folder: RunFolder, score: float) -> None:
    """Export `policy` as the run's best, with the score that it was picked by on its card."""
    card = {**policy.card, "picking_score": score}
    FrozenPolicy(policy.weights(), card).save(folder.best)


def saved_score(folder: RunFolder) -> float | None:
    """Return the score that the run's best policy was picked by; None if there is none."""
    try:
        score = FrozenPolicy.load(folder.best).card.get("picking_score")
    except LrEnvError:
        return None
    return float(score) if isinstance(score, int | float) else None


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
