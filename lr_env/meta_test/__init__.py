"""The meta-test: trainings outside the meta-training family, to pick policies by and to report."""

from lr_env.meta_test.suite import RATES, SUITE_VERSION, MetaTestEntry, part_a, part_b
from lr_env.meta_test.task import MetaTestTask

__all__ = ["RATES", "SUITE_VERSION", "MetaTestEntry", "MetaTestTask", "part_a", "part_b"]
