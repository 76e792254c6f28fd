"""The meta-test's runner on a tiny suite: complete, resumable, paired, and its reports."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from experiments.engines import guarded, open_engine
from experiments.grid import run_all
from experiments.meta_test.__main__ import meta_test
from experiments.meta_test.cells import Cell, policy_cells
from experiments.meta_test.config import MetaTestConfig
from experiments.meta_test.publish import PublishConfig, publish
from experiments.meta_test.runner import MetaTest
from experiments.meta_test.work import run_job
from experiments.restore import RestoreConfig, restore
from lr_env.action import Envelope
from lr_env.command_line import run_command
from lr_env.errors import DataError, InvalidArgumentError, PolicyError, UnknownNameError
from lr_env.meta_test.spec import MetaTestSpec
from lr_env.meta_test.suite import MetaTestEntry
from lr_env.policy import FrozenPolicy
from tests.toys import make_policy

RATES = (1e-4, 1e-3, 1e-2)
TINY = [
    MetaTestEntry(
        "waves", MetaTestSpec("waves", "mlp", 1, 8, 4, 3, 100, 64), "scratch", "adam", 10, 4, "-"
    ),
    MetaTestEntry(
        "noise", MetaTestSpec("shells", "mlp", 1, 8, 4, 3, 60, 64, label_noise=0.3),
        "overfitting", "adamax", 10, 4, "-",
    ),
]  # fmt: skip


def run_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run jobs in this process; return the names of those run."""
    names: list[str] = []

    def run_all(jobs: Any, work: Any, save: Any, *rest: Any) -> None:
        for job in jobs:
            names.append(job.name)
            save(job, guarded(work, job))

    monkeypatch.setattr("experiments.grid.run_all", run_all)
    return names


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return run_here(monkeypatch)


@dataclass(frozen=True)
class Finished:
    """A run of the first of two policies on all of TINY, to be copied: its trainings take time."""

    folder: Path
    summary: Any
    names: list[str]

    def copy(self, folder: Path) -> None:
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        names = run_here(patch)
        given = policies(folder)[0]
        (summary,) = MetaTest(config(folder, given), TINY, RATES, family=1).run()
    return Finished(folder, summary, names)


def config(folder: Path, *policies: str) -> MetaTestConfig:
    return MetaTestConfig(policy=policies, seeds=3, out=folder / "out", workers=1)


def policies(folder: Path) -> list[str]:
    for seed in (0, 1):
        make_policy(seed=seed).save(folder / f"policy{seed}")
    return [str(folder / f"policy{seed}") for seed in (0, 1)]


def test_a_run_is_complete_and_the_next_one_runs_nothing(
    tmp_path: Path, at_once: list[str], finished: Finished
) -> None:
    assert len(finished.names) == len(set(finished.names)) == 2 * 15 + 1
    finished.copy(tmp_path)
    first, given = finished.summary, str(tmp_path / "policy0")
    folder = tmp_path / "out" / first["policy"]
    assert json.loads((folder / "summary.json").read_text()) == json.loads(json.dumps(first))
    report = (folder / "report.md").read_text()
    assert all(bar["name"] in report for bar in first["bars"])
    assert [bar["passed"] is None for bar in first["bars"]].count(True) == 1  # no fine-tuning
    assert (folder / "final-losses.png").read_bytes().startswith(b"\x89PNG")
    (second,) = MetaTest(config(tmp_path, given), TINY, RATES, family=1).run()
    assert at_once == []
    assert second["entries"] == first["entries"]
    assert second["controls"] == first["controls"]


def test_broken_records_are_run_again_and_another_policy_shares_the_baselines(
    tmp_path: Path, at_once: list[str], finished: Finished
) -> None:
    finished.copy(tmp_path)
    first, one, other = finished.summary, str(tmp_path / "policy0"), str(tmp_path / "policy1")
    records = tmp_path / "out" / first["policy"] / "records"
    (records / "waves" / "random.json").write_text("{")
    edited = tmp_path / "out" / "baselines" / "records" / "noise" / "cosine.json"
    edited.write_text(edited.read_text().replace("false", "true", 1))
    both = MetaTest(config(tmp_path, one, other), TINY, RATES, family=1).run()
    assert at_once.count("waves/random") == 2
    assert at_once.count("noise/cosine") == 1
    assert at_once.count("waves/cosine") == 0
    assert at_once.count("waves/agent") == 1
    assert [summary["policy"] for summary in both] != [first["policy"]] * 2
    comparison = (tmp_path / "out" / "comparison.md").read_text()
    assert all(summary["policy"] in comparison for summary in both)


def test_the_agents_record_changes_with_the_seeds_and_not_with_what_else_is_run(
    tmp_path: Path, at_once: list[str], finished: Finished
) -> None:
    finished.copy(tmp_path)
    pair, given = [finished.summary], str(tmp_path / "policy0")
    alone = MetaTest(config(tmp_path / "b", given), TINY[:1], RATES, family=1).run()
    for arm in ("agent", "fixed", "replay"):
        own = [summary[0]["entries"]["waves"]["arms"][arm]["iqm"] for summary in (pair, alone)]
        assert own[0] == pytest.approx(own[1], rel=1e-6)
    more = MetaTestConfig(policy=(given,), seeds=4, out=tmp_path / "out", workers=1)
    at_once.clear()
    MetaTest(more, TINY[:1], RATES, family=1).run()
    assert "waves/agent" in at_once
    assert "waves/cosine-tuning" not in at_once


def test_what_is_published_can_be_gone_on_from(
    tmp_path: Path, at_once: list[str], finished: Finished
) -> None:
    finished.copy(tmp_path)
    one, other = str(tmp_path / "policy0"), str(tmp_path / "policy1")
    first, second = MetaTest(config(tmp_path, one, other), TINY[:1], RATES, family=1).run()
    made, out = tmp_path / "out", tmp_path / "docs"
    publish(PublishConfig((made / first["policy"],), out))
    publish(PublishConfig((made / second["policy"],), out))
    page = (out / "README.md").read_text()
    assert all(f"({own['policy']}/report.md)" in page for own in (first, second))
    folders = tuple(out / name for name in (first["policy"], second["policy"], "baselines"))
    restore(RestoreConfig(folders, tmp_path / "again" / "out"))
    at_once.clear()
    # A policy that is not shipped is published with its figures.
    kept = [str(out / own["policy"] / "policy") for own in (first, second)]
    again = MetaTest(config(tmp_path / "again", *kept), TINY[:1], RATES, family=1).run()
    assert at_once == []
    assert [own["entries"] for own in again] == [first["entries"], second["entries"]]


@pytest.mark.parametrize(
    ("arms", "run"),
    [
        (("agent",), ["waves/agent"]),
        (("start mean_scales",), ["waves/agent", "waves/start", "waves/mean_scales"]),
    ],
)
def test_other_seeds_and_some_arms_are_other_trainings_and_a_whole_report(
    arms: tuple[str, ...], run: list[str], tmp_path: Path, at_once: list[str], finished: Finished
) -> None:
    given = policies(tmp_path)[0]
    own = MetaTestConfig(
        policy=(given,), arms=arms, seeds=3, first_seed=1, out=tmp_path / "out", workers=1
    )
    (summary,) = MetaTest(own, TINY[:1], RATES, family=1).run()
    baselines = [name for name in finished.names if name.startswith("waves/")][:7]
    assert at_once == [*baselines, *run]
    before, after = finished.folder / "out", tmp_path / "out"
    record = f"{summary['policy']}/records/waves/agent.json"
    losses = [json.loads((out / record).read_text()) for out in (before, after)]
    first, shifted = (np.array(loss["record"]["log_loss"]) for loss in losses)
    # Of the four seeds that there are, three each: the second of one is the first of the other.
    assert shifted[:, :2] == pytest.approx(first[:, 1:], rel=1e-5)
    assert not np.allclose(shifted[:, 2], first[:, 0], rtol=1e-3)
    bars = {bar["name"][0]: bar["passed"] for bar in summary["bars"]}
    assert bars["1"] is not None
    assert bars["4"] is None
    report = (after / summary["policy"] / "report.md").read_text()
    assert "3 paired seeds, numbers 1 and on" in report


@pytest.mark.usefixtures("at_once")
def test_what_cannot_be_published_is_one_sentence(tmp_path: Path, finished: Finished) -> None:
    finished.copy(tmp_path)
    first, other = finished.summary, str(tmp_path / "policy1")
    (second,) = MetaTest(config(tmp_path / "b", other), TINY[1:], RATES, family=1).run()
    folder = tmp_path / "out" / first["policy"]
    out = tmp_path / "docs"
    apart = (folder, tmp_path / "b" / "out" / second["policy"])
    with pytest.raises(InvalidArgumentError, match="one meta-test of them all"):
        publish(PublishConfig(apart, out))
    publish(PublishConfig(apart[:1], tmp_path / "before"))
    with pytest.raises(InvalidArgumentError, match="one meta-test of them all"):
        publish(PublishConfig(apart[1:], tmp_path / "before"))
    record = folder / "records" / "waves" / "agent.json"
    record.write_text("{")
    with pytest.raises(DataError, match="not the record that the report was made of"):
        publish(PublishConfig((folder,), out))
    (folder / "report.md").unlink()
    with pytest.raises(InvalidArgumentError, match=r"lacks its report\.md"):
        publish(PublishConfig((folder,), out))
    assert not out.exists()


@pytest.mark.parametrize(
    ("envelope", "count"),
    [
        (Envelope(z_init="calibrated", z_max=14.0), 1),
        (Envelope(z_init="cautious", z_max=14.0), 1),
        (Envelope(z_init="calibrated", z_max=2.0), 3),
        (Envelope(z_init="zero", z_max=14.0), 3),
    ],
)
def test_a_start_that_depends_on_the_base_rate_is_run_from_several(
    envelope: Envelope, count: int
) -> None:
    cells = policy_cells(TINY[0], range(3), RATES, "ppo-v1", envelope)
    (start,) = (cell for cell in cells if cell.arm == "start")
    assert len(start.rates) == count


def test_a_cell_reports_how_far_it_is() -> None:
    shares: list[float] = []
    run_job(Cell(TINY[0], "agent", range(3), (1e-3,), policy="ppo-v1"), shares.append)
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert 0.5 < shares[-1] < 1.0


def test_a_policy_that_was_replaced_meanwhile_is_not_run() -> None:
    with pytest.raises(PolicyError, match="replaced while it was evaluated"):
        run_job(Cell(TINY[0], "agent", range(3), (1e-3,), policy="ppo-v1", policy_digest="0" * 64))


def test_mean_scales_come_from_the_other_seeds() -> None:
    results = [
        run_job(Cell(TINY[0], "mean_scales", range(3), (1e-3,), policy="ppo-v1", given=given))
        for given in (
            [[[-8.0] * 2, [-9.0] * 2, [-10.0] * 2]],
            [[[-4.0] * 2, [-9.0] * 2, [-10.0] * 2]],
        )
    ]
    first, changed = (np.array(result["log_loss"])[0] for result in results)
    assert first[0] == changed[0]  # its own mean plays no part in the first seed's run
    assert (first[1:] != changed[1:]).all()


def test_jobs_in_processes_of_their_own_find_the_same() -> None:
    found: dict[str, float] = {}
    cells = [Cell(TINY[0], arm, range(3), RATES[:1]) for arm in ("fixed", "cosine")]

    def save(job: Cell, record: dict[str, Any]) -> None:
        found[job.name] = record["log_loss"][0][0]

    with open_engine("local", 2, device="cpu") as engine:
        run_all(cells, run_job, save, engine, Console(quiet=True))
    here = {cell.name: run_job(cell)["log_loss"][0][0] for cell in cells}
    assert found == pytest.approx(here, rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "2"], "at least 3"),
        (["--first-seed", "-1"], "at least 0"),
        (["--arms", "replays"], "did you mean 'replay'"),
        (["--entries", "topcis"], "did you mean 'topics'"),
        (["--policy", "ppo-v11"], "did you mean"),
        (["--workers", "0"], "above zero"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = run_command(MetaTestConfig, meta_test, "x", "", [*flags, "--out", str(tmp_path)])
    assert status == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_names_may_be_separated_by_commas_and_count_once() -> None:
    own = MetaTestConfig(policy=("a,b", "a"), entries=("scenes topics",), arms=("start,start",))
    assert own.arm_names == ("agent", "start")
    assert own.policies == ("a", "b")
    assert own.entry_names == ("scenes", "topics")
    with pytest.raises(InvalidArgumentError, match="policy"):
        MetaTestConfig(policy=())
    with pytest.raises(UnknownNameError):
        MetaTestConfig(entries=("nothing-like-it",))


def test_the_name_on_a_card_is_no_path(tmp_path: Path) -> None:
    policy = make_policy(seed=0)
    stranger = FrozenPolicy(policy.weights(), {**policy.card, "name": "../../escaped/"})
    stranger.save(tmp_path / "policy")
    MetaTest(config(tmp_path / "in", str(tmp_path / "policy")), TINY, RATES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "policy"]
    (own,) = (tmp_path / "in" / "out").iterdir()
    assert own.name.startswith("escaped-")
