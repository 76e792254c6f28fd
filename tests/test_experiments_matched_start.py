"""How far a matched start is from the best one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import matched_start
from experiments.matched_start import (
    HERE,
    OFFSETS,
    TILTS,
    Job,
    MatchedStartConfig,
    jobs,
    measure,
    moves,
    over_cells,
    table,
)
from lr_env import action
from lr_env.errors import LrEnvError
from lr_env.layers import LayerKind, group_layers
from lr_env.tasks.family import family_spec
from tests.toys import ToyTask


def small(steps: int = 60) -> Job:
    drawn = family_spec(matched_start.SPECS_SEED, 0, 1)
    spec = replace(drawn, optimizer="adam", train_size=120, label_noise=0.0, batch_size=32)
    return Job(spec, steps, seeds=2)


def test_lower_starts_learn_less_of_a_short_training() -> None:
    losses = measure(small(), lambda done: None)["log_loss"]
    assert len(losses) == len(OFFSETS) + len(TILTS)
    assert losses[0] > losses[2] > losses[HERE]


def test_a_start_is_left_once_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    # A start as many octaves off, sought from there, is the same training.
    here = measure(small(), lambda done: None)["log_loss"]
    monkeypatch.setattr("lr_env.action.MATCHED_RATE", action.MATCHED_RATE / 4)
    below = measure(small(), lambda done: None)["log_loss"]
    count = len(OFFSETS)
    assert below[2:count] == pytest.approx(here[: count - 2], rel=1e-4)


@pytest.mark.parametrize("wrong", [{"specs": 0}, {"seeds": 0}, {"workers": 0}, {"optimizer": "no"}])
def test_what_no_comparison_can_be_made_with_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(LrEnvError):
        MatchedStartConfig(**wrong)


def test_cells_are_of_all_lengths_batches_and_labels() -> None:
    own = jobs(MatchedStartConfig(specs=1))
    assert {job.spec.label_noise for job in own} == set(matched_start.NOISE)
    assert {job.spec.optimizer for job in own} == {"adam"}
    vectors = [job for job in own if job.spec.architecture == "mlp"]
    assert {job.steps for job in vectors} == set(matched_start.STEPS["vector"])
    assert {job.spec.batch_size for job in vectors} == set(matched_start.BATCHES["vector"])
    assert {job.many_passes for job in own} == {False, True}


def test_the_table_says_what_the_best_start_gains() -> None:
    flat = [0.0] * (len(OFFSETS) + len(TILTS))
    better = [*flat[: len(OFFSETS) - 1], -0.5, *flat[len(OFFSETS) : -1], -0.7]
    cells = {small(60): flat, small(61): better}
    found = table(cells)
    assert found["best"].tolist() == [0.0, -0.5]
    assert found["+4"].tolist() == [0.0, -0.5]
    assert found["half of it"].tolist() == [0.0, -0.7]
    means = over_cells(cells)
    assert means.loc["half of it"].tolist() == pytest.approx([-0.35, 0.35, 0.5])


def test_tilts_move_first_last_and_normalisation_layers() -> None:
    layers = ToyTask(architecture="layernorm").build_model()
    rows = moves(group_layers(layers))
    kinds = [layer.kind for layer in group_layers(layers)]
    tilted = rows[len(OFFSETS) + list(TILTS).index("all three")].tolist()
    assert rows[:, 1].tolist()[: len(OFFSETS)] == list(OFFSETS)
    assert (tilted[0], tilted[-1]) == (1.0, -1.0)
    for kind, move in list(zip(kinds, tilted, strict=True))[1:-1]:
        assert move == (-1.0 if kind is LayerKind.NORMALISATION else 0.0)
    assert -1.0 in tilted[1:-1]


def test_finished_cells_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matched_start, "jobs", lambda config: [small(20)])
    config = MatchedStartConfig(out=tmp_path, workers=1)
    first = matched_start.compare(config)
    (cell,) = (tmp_path / "cells").iterdir()
    stamp = cell.stat().st_mtime_ns
    assert matched_start.compare(config) == first
    assert cell.stat().st_mtime_ns == stamp
    assert (tmp_path / "starts.txt").read_text() == first + "\n"
    assert (tmp_path / "run.json").is_file()


def test_losses_far_below_the_first_one_hardly_count(monkeypatch: pytest.MonkeyPatch) -> None:
    floored = measure(small(), lambda done: None)["log_loss"]
    monkeypatch.setattr(matched_start, "FLOOR", 0.0)
    plain = measure(small(), lambda done: None)["log_loss"]
    assert max(floored) - min(floored) < 0.9 * (max(plain) - min(plain))
