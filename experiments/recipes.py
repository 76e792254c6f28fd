"""A run of an evaluation by its recipe: in our loop or in Hugging Face's Trainer."""

from __future__ import annotations

from experiments.engines import Report, silent
from experiments.hf_recipe import run_in_trainer
from experiments.records import Record
from experiments.runs import RunSpec
from experiments.surroundings import check_surroundings
from experiments.training import run


def run_recipe(spec: RunSpec, report: Report = silent) -> Record:
    """Train as the run's recipe has it, and return the record."""
    check_surroundings(spec)
    return (run_in_trainer if spec.recipe == "hf-warmup" else run)(spec, report)
