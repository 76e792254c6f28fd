"""`make meta-test`: frozen policies on the suite outside their meta-training family."""

from __future__ import annotations

from typing import Any

from experiments.meta_test.config import MetaTestConfig
from experiments.meta_test.runner import MetaTest
from lr_env.command_line import run_command
from lr_env.meta_test import part_b


def meta_test(config: MetaTestConfig) -> list[dict[str, Any]]:
    """Evaluate the policies on part B."""
    return MetaTest(config, part_b(config.entry_names)).run()


def main() -> int:
    """Run the command line; return the exit status."""
    return run_command(
        MetaTestConfig,
        meta_test,
        "python -m experiments.meta_test",
        "finished cells are kept: the same command goes on with the others.",
    )


if __name__ == "__main__":
    raise SystemExit(main())
