"""Recipe hf-warmup: the plan's warm-up and fields, in the real command line on a tiny encoder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.arms import parse_arms
from experiments.hf_recipe import REPORTED, build_trainer, rows_of, run_in_trainer, warmup_steps
from experiments.runs import RunSpec
from lr_env.tasks import make_task
from tests.toys import make_policy

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.usefixtures("own_data_cache")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("policies") / "random"
    make_policy().save(folder)
    return str(folder)


def spec(arm: str, data_root: Path, encoder: Path, policy: str | None = None) -> RunSpec:
    chosen = parse_arms(arm)[0]
    return RunSpec(
        task="imdb",
        task_arguments={
            "data": str(data_root / "imdb"), "model": str(encoder), "scale": "smoke"
        },
        seed=0, arm=chosen, policy=policy if chosen.is_agent else None, epochs=1, batch_size=8,
        recipe="hf-warmup", scale="smoke",
    )  # fmt: skip


def test_warm_up_is_500_steps_of_the_plan_and_their_share_below() -> None:
    assert warmup_steps("paper", 1563, 16) == 500
    assert warmup_steps("quick", 1563, 16) == 500
    assert warmup_steps("quick", 125, 16) == 40
    assert warmup_steps("quick", 782, 32) == 500
    assert warmup_steps("paper", 100, 16) == 100


def test_rows_are_the_task_s_without_padding(data_root: Path, encoder: Path) -> None:
    task = make_task("imdb", 0, data=data_root / "imdb", model=encoder, scale="smoke")
    rows = rows_of(task, "train")
    assert len(rows) == task.size("train")
    assert len({len(row["input_ids"]) for row in rows}) > 1
    first = next(task.batches("train", len(rows)))
    assert int(first["attention_mask"].sum()) == sum(len(row["input_ids"]) for row in rows)


def test_the_trainer_has_the_recipe_s_settings(
    tmp_path: Path, data_root: Path, encoder: Path
) -> None:
    own = spec("trainer", data_root, encoder)
    task = make_task("imdb", 0, **own.task_arguments)
    arguments = build_trainer(own, task, task.build_model(), str(tmp_path), []).args
    assert (arguments.learning_rate, arguments.weight_decay) == (5e-5, 0.01)
    assert arguments.lr_scheduler_type == "linear"
    assert arguments.get_warmup_steps(4) == 1
    assert arguments.max_grad_norm == 1.0


def test_arms_of_a_seed_start_and_are_read_alike(
    data_root: Path, encoder: Path, policy: str
) -> None:
    records = {
        arm: run_in_trainer(spec(arm, data_root, encoder, policy))
        for arm in ("trainer@1e-9", "trainer", "trainer-agent")
    }
    for record in records.values():
        assert record["total_steps"] == 4
        assert [point["epochs"] for point in record["points"]] == [0.25, 0.5, 0.75, 1.0]
        assert set(record["trainer"]) == set(REPORTED)
        assert record["test"]["loss"] == record["trainer"]["eval_loss"]
        assert {"accuracy", "f1"} <= set(record["test"])
    first = {record["points"][0]["train_loss"] for record in records.values()}
    assert len(first) == 1  # same weights, same batch, same dropout
    assert records["trainer"]["points"] != records["trainer@1e-9"]["points"]
    agent = records["trainer-agent"]
    assert len(agent["learning_rates"]["steps"]) == 4
    assert 0.0 < agent["controller_seconds"] < agent["seconds"]
    again = run_in_trainer(spec("trainer-agent", data_root, encoder, policy))
    assert again["points"] == agent["points"]
    assert again["test"] == agent["test"]


def test_a_loss_that_is_not_finite_ends_the_run(
    data_root: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lr_env.integrations.transformers.LossTap.take", lambda self: float("nan"))
    record = run_in_trainer(spec("trainer", data_root, encoder))
    assert record["diverged_at_step"] == 0
    assert record["points"] == []
    assert record["test"]["loss"] is not None


@pytest.mark.slow
def test_the_command_line_from_end_to_end(
    tmp_path: Path, data_root: Path, encoder: Path, policy: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.evaluate", "--task", "imdb", "--scale", "smoke",
         "--recipe", "hf-warmup", "--batch-size", "8", "--model", str(encoder),
         "--policy", policy, "--arms", "trainer trainer-agent", "--workers", "1",
         "--out", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "LR_ENV_DATA": str(data_root), "COLUMNS": "100"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Scale smoke, recipe hf-warmup: 1 epoch, batch 8, 3 paired seeds" in done.stdout
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("imdb-smoke-hf-warmup-tiny-bert-")
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["arms"]["trainer"]["trainer"]) == set(REPORTED)
    report = (folder / "report.md").read_text()
    assert "accuracy 0.856 and loss 0.432" in report
    assert "500 steps of linear warm-up at paper scale" in report
    assert "over a tenth of the steps" not in report
