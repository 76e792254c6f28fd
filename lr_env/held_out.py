"""The held-out suite of meta-training: trainings of the family that no agent is trained on."""

from __future__ import annotations

from functools import partial

from lr_env.scoring import Entry
from lr_env.stack import StackSettings
from lr_env.tasks.family import FamilyTask, held_out_specs

BASE_LR = (1e-5, 1e-1)
TOTAL_STEPS = 300
STEPS_PER_ACTION = 5


def held_out_suite(lanes: int = 16) -> list[Entry]:
    """Return its entries: unseen architectures, each from base rates of four decades."""
    return [
        Entry(
            name=f"{index}-{spec.architecture}-{spec.optimizer}",
            task=partial(FamilyTask, spec),
            settings=StackSettings(
                optimizer=spec.optimizer,
                base_lr=BASE_LR,
                schedules=("constant", "cosine"),
                total_steps=TOTAL_STEPS,
                steps_per_action=STEPS_PER_ACTION,
                batch_size=spec.batch_size,
            ),
            lanes=lanes,
            cost=spec.step_cost(lanes),
        )
        for index, spec in enumerate(held_out_specs())
    ]
