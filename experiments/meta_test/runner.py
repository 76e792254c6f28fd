"""The meta-test of several policies: what is missing is run, what is there is reported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from experiments.engines import Engine, open_engine
from experiments.grid import complete
from experiments.meta_test.bars import judge
from experiments.meta_test.cells import (
    MetaTestJob,
    baseline_cells,
    dependent_cells,
    family_trials,
    fingerprint,
    policy_cells,
    same_kind,
)
from experiments.meta_test.config import MetaTestConfig
from experiments.meta_test.report import write_comparison, write_report
from experiments.meta_test.summary import compare_controls, summarise_entry
from experiments.meta_test.work import run_job
from experiments.policies import policy_digest
from experiments.records import Record, RecordFile
from lr_env import files
from lr_env.meta_test import RATES, SUITE_VERSION, MetaTestEntry
from lr_env.meta_test.pilots import averaged
from lr_env.policy import FrozenPolicy, policy_names
from lr_env.provenance import describe_run

BASELINES_FOLDER, RECORDS, POLICY = "baselines", "records", "policy"


class MetaTest:
    """A suite's jobs for several policies, in two waves: some controls need the agent's records.

    Args:
        config: of the run.
        entries: of the suite.
        rates: base rates.
        family: trials that each policy's average schedule is made of.
    """

    def __init__(
        self,
        config: MetaTestConfig,
        entries: Sequence[MetaTestEntry],
        rates: tuple[float, ...] = RATES,
        family: int = 10,
    ) -> None:
        self._config, self._entries, self._rates, self._family = config, entries, rates, family
        self._console = Console()
        # Broken policies are refused before any training begins.
        self._policies = {given: FrozenPolicy.load(given) for given in config.policies}
        self._folders = {
            given: config.out / _label(given, policy) for given, policy in self._policies.items()
        }
        for folder in (config.out, *self._folders.values()):
            files.ensure_folder(folder)
        self._records: dict[tuple[str | None, str], Record] = {}
        self._fingerprints: dict[tuple[str | None, str], str] = {}

    def run(self) -> list[dict[str, Any]]:
        """Run what is missing, write the reports and return the summaries."""
        seeds, rates, arms = self._config.turns, self._rates, self._config.arm_names
        first: list[MetaTestJob] = []
        for entry in self._entries:
            first += baseline_cells(entry, seeds, rates)
            for given, policy in self._policies.items():
                own = policy_cells(entry, seeds, rates, given, policy.envelope)
                first += [cell for cell in own if cell.arm in arms]
        if "replay" in arms:
            for given in self._policies:
                first += family_trials(given, self._family)
        # Stacks train on the CPU, whatever else there is.
        with open_engine(self._config.engine, self._config.workers, device="cpu") as engine:
            self._complete("trainings", first, engine)
            self._complete("controls made of them", self._dependent(), engine)
        provenance = describe_run(self._config.to_dict())
        summaries = [self._report(given, provenance) for given in self._policies]
        if len(summaries) > 1:
            write_comparison(self._config.out / "comparison.md", summaries, self._console)
        return summaries

    def _dependent(self) -> list[MetaTestJob]:
        jobs: list[MetaTestJob] = []
        arms = self._config.arm_names
        for given in self._policies:
            trials = family_trials(given, self._family) if "replay" in arms else []
            for entry in self._entries:
                sums = [
                    self._records[given, trial.name]["schedule"]
                    for trial in trials
                    if same_kind(trial.spec.optimizer, entry.optimizer)
                ]
                agent = self._records[given, f"{entry.name}/agent"]
                cells = dependent_cells(
                    entry, self._config.turns, self._rates, given,
                    self._policies[given].envelope, agent, averaged(sums),
                )  # fmt: skip
                jobs += [cell for cell in cells if cell.arm in arms]
        return jobs

    def _complete(self, what: str, jobs: Sequence[MetaTestJob], engine: Engine) -> None:
        """Find every job's record, or run it."""
        jobs = [self._meant(job) for job in jobs]
        title = f"Meta-test, {what}"
        found = complete(jobs, run_job, self._file, engine, self._console, title, "jobs")
        self._records.update({(job.policy, job.name): record for job, record in found.items()})

    def _meant(self, job: MetaTestJob) -> MetaTestJob:
        """Return the job with what its policy has to do, wherever it is loaded."""
        if job.policy is None:
            return job
        return replace(job, policy_digest=policy_digest(self._policies[job.policy]))

    def _file(self, job: MetaTestJob) -> RecordFile:
        policy = None if job.policy is None else self._policies[job.policy]
        own = BASELINES_FOLDER if job.policy is None else self._folders[job.policy].name
        file = RecordFile(self._config.out / own / RECORDS, job.name, fingerprint(job, policy))
        self._fingerprints[job.policy, job.name] = file.fingerprint
        return file

    def _report(self, given: str, provenance: Mapping[str, Any]) -> dict[str, Any]:
        records = {entry.name: self._of(given, entry) for entry in self._entries}
        adam = {entry.name: records[entry.name] for entry in self._entries if entry.adam_like}
        entries = {
            entry.name: summarise_entry(entry, records[entry.name]) for entry in self._entries
        }
        controls = compare_controls(adam) if adam else {}
        own = [record for (whose, _), record in self._records.items() if whose in (given, None)]
        summary = {
            "policy": self._folders[given].name,
            "weights_sha256": self._policies[given].card["weights_sha256"],
            "suite": SUITE_VERSION,
            "seeds": self._config.seeds,
            "first_seed": self._config.first_seed,
            "rates": list(self._rates),
            "bars": [
                bar.to_dict()
                for bar in judge(entries, controls, self._policies[given].envelope.shared)
            ],
            "entries": entries,
            "controls": controls,
            "seconds": sum(record["seconds"] for record in own),
            "baseline_seconds": sum(
                record["seconds"] for (whose, _), record in self._records.items() if whose is None
            ),
            "amended": self._policies[given].card.get("amended"),
            "records": self._fingerprints_of(given),
            "baseline_records": self._fingerprints_of(None),
            "provenance": provenance,
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        }
        folder = self._folders[given]
        self._console.print(f"\n{summary['policy']}", style="bold")
        write_report(folder, summary, self._console)
        if given not in policy_names():
            # A shipped policy is in the library; any other goes with its figures.
            self._policies[given].save(folder / POLICY)
        self._console.print(f"Report: {folder / 'report.md'}", soft_wrap=True)
        return summary

    def _fingerprints_of(self, given: str | None) -> dict[str, str]:
        """Return fingerprints by name in the folder of a policy, or of the baselines."""
        own = {name: found for (whose, name), found in self._fingerprints.items() if whose == given}
        return {f"{RECORDS}/{name}": own[name] for name in sorted(own)}

    def _of(self, given: str, entry: MetaTestEntry) -> dict[str, Record]:
        """Return the entry's records by arm."""
        prefix = f"{entry.name}/"
        return {
            name.removeprefix(prefix): record
            for (whose, name), record in self._records.items()
            if whose in (given, None) and name.startswith(prefix)
        }


def _label(given: str, policy: FrozenPolicy) -> str:
    """Return the name of a policy's folder: many runs export a policy of the same name.

    Weights alone do not tell them apart, since envelopes differ.
    """
    if given in policy_names():
        return given
    # A card may come from anybody, and its name is no path.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", policy.name).strip(".-") or "policy"
    return f"{name[:64]}-{policy_digest(policy)[:8]}"
