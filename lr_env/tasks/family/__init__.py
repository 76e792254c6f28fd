"""The meta-training family: small trainings of many kinds, drawn by seed."""

from lr_env.tasks.family.models import build_network
from lr_env.tasks.family.spec import (
    FamilySpec,
    family_spec,
    family_specs,
    held_out_specs,
    sample_spec,
)
from lr_env.tasks.family.task import FamilyTask, make_family_task

__all__ = [
    "FamilySpec",
    "FamilyTask",
    "build_network",
    "family_spec",
    "family_specs",
    "held_out_specs",
    "make_family_task",
    "sample_spec",
]
