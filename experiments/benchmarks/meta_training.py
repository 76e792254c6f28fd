"""What a meta-training's time goes into: its first rollout, of the default mix, and its update.

The program is run as a user runs it, under a stopwatch, since nothing here imports `agents`.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lr_env.errors import WorkerError

COLLECT = "stable_baselines3.common.on_policy_algorithm:OnPolicyAlgorithm.collect_rollouts"
UPDATE = "stable_baselines3.ppo.ppo:PPO.train"
SCORE = "agents.monitor:Monitor._on_rollout_start"
SLOTS = ("agents.slots:SlotVecEnv.step_async", "agents.slots:SlotVecEnv.step_wait")
STACKS = ("agents.workers:Workers.step_async", "agents.workers:Workers.step_wait")
FUNCTIONS = (COLLECT, UPDATE, SCORE, *SLOTS, *STACKS)
_ROOT = Path(__file__).parent.parent.parent


def measure_meta_training() -> dict[str, Any]:
    """Return slot decisions a second and shares of the time; see `summarise`.

    Raises:
        WorkerError: the meta-training does not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "spans.json"
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "experiments.benchmarks.stopwatch", str(result),
             ",".join(FUNCTIONS), UPDATE, "agents.train", "--algo", "ppo", "--out", folder],
            cwd=_ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        logs = sorted(Path(folder).glob("*/logs/progress.csv"))
        if not result.exists() or not logs:
            said = done.stderr.strip().splitlines() or ["it said nothing"]
            raise WorkerError(f"The meta-training to be timed did not run ({said[-1]}).")
        with logs[0].open(encoding="utf-8", newline="") as file:
            *_, row = csv.DictReader(file)
        decisions = int(row["time/total_timesteps"])
        return summarise(json.loads(result.read_text(encoding="utf-8")), decisions)


def summarise(spans: Mapping[str, Mapping[str, float]], decisions: int) -> dict[str, Any]:
    """Return slot decisions a second, and the shares of the time by what they go into.

    `spans`: calls and seconds of the `FUNCTIONS`. Scores and checkpoints are left out: how often
    they come is a matter of arguments.
    """
    seconds = {name: span["seconds"] for name, span in spans.items()}
    collecting = seconds[COLLECT] - seconds[SCORE]
    slots = sum(seconds[name] for name in SLOTS)
    stacks = sum(seconds[name] for name in STACKS)
    whole = collecting + seconds[UPDATE]
    return {
        "slot_decisions": decisions,
        "decisions": int(spans[SLOTS[0]]["calls"]),
        "seconds": whole,
        "slot_decisions_per_second": decisions / whole,
        "shares": {
            "the stacks": stacks / whole,
            "their layers as slots": (slots - stacks) / whole,
            "Stable-Baselines3's rollout": (collecting - slots) / whole,
            "Stable-Baselines3's update": seconds[UPDATE] / whole,
        },
    }
