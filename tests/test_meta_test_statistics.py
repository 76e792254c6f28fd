"""The meta-test's figures, on records made by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.arms.lr_star import LR_STAR_FILE, lr_star
from experiments.meta_test.bars import Bar, judge
from experiments.meta_test.cells import ON_BASE
from experiments.meta_test.losses import log_losses
from experiments.meta_test.lr_star import OPTIMIZERS, best_rate
from experiments.meta_test.lr_star import RATES as QUARTERS
from experiments.meta_test.statistics import (
    improvement_over_entries,
    median_over_entries,
)
from experiments.meta_test.summary import compare_controls, log_ratio, summarise_entry, tune
from experiments.statistics import iqm_interval
from lr_env.errors import DataError
from lr_env.meta_test.spec import MetaTestSpec
from lr_env.meta_test.suite import MetaTestEntry

RATES = (1e-4, 1e-3, 1e-1)
SHARED = True
SEEDS = 8
NOISE = np.random.default_rng(0).uniform(-0.02, 0.02, SEEDS)


def record(*losses: float, rates: tuple[float, ...] = RATES, diverged: int = 0) -> dict[str, Any]:
    """Return a record whose seeds scatter around `losses`; the first rate has diverged runs."""
    table = [(math.log(loss) + NOISE).tolist() for loss in losses]
    lost = [
        [index == 0 and seed < diverged for seed in range(SEEDS)] for index in range(len(losses))
    ]
    return {"rates": list(rates), "log_loss": table, "diverged": lost, "seconds": 1.0}


def records(agent: dict[str, Any], control: float = 2.0) -> dict[str, dict[str, Any]]:
    schedules = record(1.0, 0.5, 0.9)
    free = record(control, rates=(1e-3,))
    few = record(control, control, rates=RATES[:2])
    return {
        **dict.fromkeys(("fixed", "cosine", "linear", "cosine-tuning", "linear-tuning"), schedules),
        "agent": agent, "agent_validation": agent,
        **dict.fromkeys(("start", "replay", "lr_star", "lr_star_kind"), free),
        **dict.fromkeys(ON_BASE, few),
    }  # fmt: skip


def entry(name: str, role: str = "scratch", optimizer: str = "adam") -> MetaTestEntry:
    spec = MetaTestSpec("waves", "mlp", 1, 4, 2, 2, 10, 10)
    return MetaTestEntry(name, spec, role, optimizer, 10, 2, "by hand")  # type: ignore[arg-type]


def bars_of(**agents: dict[str, Any]) -> dict[str, Bar]:
    """Judge entries named by their role."""
    own = {role: records(agent) for role, agent in agents.items()}
    entries = {role: summarise_entry(entry(role, role), made) for role, made in own.items()}
    return {bar.name[0]: bar for bar in judge(entries, compare_controls(own), SHARED)}


def test_the_interquartile_mean_leaves_outliers_out_and_its_interval_holds_it() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1e9]
    interval = iqm_interval(values)
    assert interval.mean == pytest.approx(4.5)
    assert interval.low < 4.5 < interval.high
    assert iqm_interval(values) == interval
    same = iqm_interval([2.0, 2.0, 2.0])
    assert (same.low, same.mean, same.high) == (2.0, 2.0, 2.0)


def test_over_entries_the_median_and_the_share_of_pairs_count() -> None:
    random = np.random.default_rng(1)
    tables = [random.normal(shift, 0.1, (3, 10)) for shift in (-1.0, -0.5, 4.0)]
    median = median_over_entries(tables)
    assert -0.6 < median.low < median.mean < median.high < -0.4
    better = improvement_over_entries(tables)
    assert better.mean == pytest.approx(2 / 3)
    ties = improvement_over_entries([np.zeros((2, 4))])
    assert (ties.low, ties.mean, ties.high) == (0.5, 0.5, 0.5)


def test_intervals_over_entries_resample_seeds_and_keep_rates_together() -> None:
    """With all spread between seeds, more rates of the same seeds make nothing more certain."""
    seeds = np.random.default_rng(2).normal(0.0, 1.0, (1, 12))
    once, often = median_over_entries([seeds]), median_over_entries([seeds.repeat(50, 0)])
    assert often.high - often.low > 0.8 * (once.high - once.low)


def test_references_are_tuned_on_the_tuning_seeds_and_read_on_the_others() -> None:
    made = records(record(0.5, 0.5, 0.5))
    made["cosine-tuning"] = record(0.3, 0.4, 0.9)
    assert tune(made, "cosine") == 1e-4
    summary = summarise_entry(entry("one"), made)
    assert summary["tuned"]["cosine"]["rate"] == 1e-4
    assert summary["tuned"]["cosine"]["iqm"] == pytest.approx(1.0, rel=0.02)
    assert summary["cells"]["agent"][0]["gap"]["mean"] == pytest.approx(-0.5, rel=0.02)


def test_a_gap_within_the_margin_passes_and_one_outside_does_not() -> None:
    summary = summarise_entry(entry("one"), records(record(0.51, 0.56, 0.4)))
    inside, outside, better = summary["cells"]["agent"]
    assert inside["margin"] == pytest.approx(0.025, rel=0.02)
    assert inside["passed"]
    assert not outside["passed"]
    assert better["passed"]
    assert outside["percent"]["mean"] == pytest.approx(12.0, rel=0.05)
    small = records(record(0.5, 0.5, 0.5))
    small["cosine"] = record(0.09, 0.1, 0.1)
    assert summarise_entry(entry("one"), small)["cells"]["agent"][0]["margin"] == 0.01


def test_bars_pass_for_an_agent_that_is_level_and_fail_for_one_that_is_not() -> None:
    good, bad = record(0.5, 0.5, 3.0), record(0.8, 0.8, 0.5)
    passed = bars_of(scratch=good, overfitting=good, finetuning=good)
    assert {name: bar.passed for name, bar in passed.items()} == dict.fromkeys("123456", True)
    failed = bars_of(scratch=bad, overfitting=bad, finetuning=bad)
    assert not any(failed[name].passed for name in "136")
    assert "2 of 2 cells" in passed["1"].text  # the rate of 0.1 is not for bars
    assert "worst scratch from" in failed["1"].text


def test_the_control_that_a_policy_is_itself_is_said_and_not_counted() -> None:
    made = records(record(0.5, 0.5, 3.0))
    entries = {"scratch": summarise_entry(entry("scratch"), made)}
    controls = compare_controls({"scratch": made})
    for shared, own, other in (
        (True, "layer_by_layer -", "one_action is the policy itself"),
        (False, "one_action -", "one_action -"),
    ):
        (bar,) = (bar for bar in judge(entries, controls, shared) if bar.name.startswith("4"))
        assert bar.passed
        assert own in bar.text
        assert other in bar.text
        assert bar.short == "better than 7 of 7"


@pytest.mark.parametrize("missing", ["replay", "layer_by_layer"])
def test_a_bar_is_not_passed_by_controls_that_were_not_run(missing: str) -> None:
    made = records(record(0.5, 0.5, 3.0))
    other = {name: own for name, own in made.items() if name != missing}
    controls = compare_controls({"one": made, "other": other})
    assert missing not in controls
    entries = {"one": summarise_entry(entry("one"), made)}
    (bar,) = (bar for bar in judge(entries, controls, SHARED) if bar.name.startswith("4"))
    assert bar.passed is None
    assert bar.text == f"not run: {missing}"


def test_the_better_schedule_stands_beside_the_first_bar() -> None:
    made = records(record(0.5, 0.5, 0.5))
    assert summarise_entry(entry("one"), made)["better_reference"] == "cosine"
    made["linear"] = made["linear-tuning"] = record(1.0, 0.3, 0.9)
    made["agent_validation"] = record(0.5, 0.9, 0.5)
    summary = summarise_entry(entry("one"), made)
    assert summary["better_reference"] == "linear"
    bar = judge({"one": summary}, {}, SHARED)[0]
    assert bar.passed
    assert "2 of 2 cells (100 %, at least 80 %), all of 1 of 1 entries" in bar.text
    assert "Against the better of tuned cosine and tuned linear: 0 of 2" in bar.text
    assert "Shown a validation loss: 1 of 2 cells (50 %), all of 0 of 1 entries." in bar.text


def test_the_same_training_rounded_otherwise_is_a_tie() -> None:
    ties = improvement_over_entries([np.array([[-1e-9, 1e-9, -1e-8, -1e-7]])])
    assert (ties.low, ties.mean, ties.high) == (0.5, 0.5, 0.5)


def test_controls_of_a_start_that_depends_on_the_base_rate_are_run_from_several() -> None:
    """The zero policy without an envelope of its own is `fixed`: from each rate, not from one."""
    made = records(record(0.5, 0.25, 7.0))
    made["start"] = record(0.5, 0.25, rates=RATES[:2])
    assert log_ratio(made, "start") == pytest.approx(0.0)


def test_four_of_five_cells_are_enough_and_three_are_not() -> None:
    def share(passing: int) -> bool | None:
        rates = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
        made = records(record(*[0.5 if turn < passing else 0.9 for turn in range(5)], rates=rates))
        for name in ("fixed", "cosine", "linear", "cosine-tuning", "linear-tuning"):
            made[name] = record(*[0.5] * 5, rates=rates)
        return judge({"one": summarise_entry(entry("one"), made)}, {}, SHARED)[0].passed

    assert share(4)
    assert not share(3)


def test_divergence_counts_where_a_baseline_trains() -> None:
    lost = record(0.5, 0.5, 0.5, diverged=1)
    assert not bars_of(scratch=lost)["2"].passed
    assert "scratch from 0.0001" in bars_of(scratch=lost)["2"].text
    made = records(lost)
    for name in ("fixed", "cosine", "linear"):
        made[name] = record(1.0, 0.5, 0.9, diverged=2)
    summary = {"one": summarise_entry(entry("one"), made)}
    assert judge(summary, {}, SHARED)[1].passed


def test_one_control_that_is_as_good_fails_the_fourth_bar() -> None:
    level = record(0.5, 0.5, 0.5)
    own = {"one": records(level)}
    own["one"]["replay"] = record(0.5, rates=(1e-3,))
    entries = {"one": summarise_entry(entry("one"), own["one"])}
    bar = next(bar for bar in judge(entries, compare_controls(own), SHARED) if bar.name[0] == "4")
    assert not bar.passed
    assert bar.text.count("NOT BETTER") == 1


def test_controls_stand_against_the_agent_from_the_same_rates_or_from_all() -> None:
    made = records(record(0.5, 0.25, 7.0))
    free, on_base = log_ratio(made, "lr_star"), log_ratio(made, "random")
    assert free.shape == on_base.shape == (2, SEEDS)
    assert np.allclose(free, np.log([[0.5 / 2.0], [0.25 / 2.0]]))


def test_sgd_is_outside_the_bars() -> None:
    made = records(record(9.0, 9.0, 9.0))
    bars = judge({"one": summarise_entry(entry("one", optimizer="sgd"), made)}, {}, SHARED)
    assert {bar.passed for bar in bars} == {None}


def test_a_diverged_training_counts_as_far_above_its_start_and_nothing_as_more() -> None:
    loss = torch.tensor([math.nan, math.inf, 1.0, 1e30], dtype=torch.float64)
    start = torch.full((4,), 2.0, dtype=torch.float64)
    worst = math.log(2.0) + 5.0
    assert log_losses(loss, start).tolist() == pytest.approx([worst, worst, 0.0, worst])


def test_lr_star_is_the_rate_with_the_lowest_mean_log_loss_and_adamax_takes_adams(
    tmp_path: Path,
) -> None:
    one = [1.0] * len(QUARTERS)
    one[4], one[6] = -1.0, -0.9
    other = [1.0] * len(QUARTERS)
    other[6] = -1.0
    assert best_rate([one, other]) == pytest.approx(QUARTERS[6], rel=1e-2)
    assert best_rate([one]) == pytest.approx(QUARTERS[4], rel=1e-2)
    vanishing = [-20.0 if rate == QUARTERS[12] else -5.0 for rate in QUARTERS]
    assert best_rate([one, vanishing]) == pytest.approx(QUARTERS[4], rel=1e-2)
    file = tmp_path / "lr_star.json"
    file.write_text(
        '{"adam": 0.002, "by_kind": {"finetuning": {"adam": 0.0005}}, "provenance": {"about": "-"}}'
    )
    assert lr_star(optimizer="adamax", path=file).lr == 0.002
    assert lr_star("finetuning", path=file).lr == 0.0005
    with pytest.raises(DataError, match="lr_star"):
        lr_star(optimizer="sgd", path=file)


def test_the_stored_lr_star_is_what_its_own_table_says() -> None:
    stored = json.loads(LR_STAR_FILE.read_text(encoding="utf-8"))
    provenance = stored["provenance"]
    assert provenance["rates"] == list(QUARTERS)
    for name in OPTIMIZERS:
        tables = provenance["log_loss"][name]
        assert stored[name] == best_rate(tables)
        own = [
            table for table, spec in zip(tables, provenance["specs"], strict=True)
            if spec["architecture"] == "finetune"
        ]  # fmt: skip
        assert stored["by_kind"]["finetuning"][name] == best_rate(own)
