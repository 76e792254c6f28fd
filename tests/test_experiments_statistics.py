"""Intervals and tests of paired runs against values worked out by hand or by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from experiments.convergence import (
    compare_convergence,
    epochs_to_target,
    summarise_convergence,
)
from experiments.statistics import (
    Interval,
    bootstrap_interval,
    holm,
    interquartile_mean,
    iqm_interval,
    mean_interval,
    paired_difference,
    verdict,
)

OWN, OTHER = [0.90, 0.84, 0.88, 0.86], [0.80, 0.82, 0.84, 0.86]


def test_paired_interval_by_hand() -> None:
    # Gaps 0.10, 0.02, 0.04, 0.00: mean 0.04, variance 0.0056 / 3, t(3, 0.975) = 3.18245.
    difference = paired_difference(OWN, OTHER, higher_is_better=True)
    half = 3.182446 * math.sqrt(0.0056 / 3 / 4)
    assert difference.interval.mean == pytest.approx(0.04)
    assert difference.interval.low == pytest.approx(0.04 - half, rel=1e-6)
    assert difference.interval.high == pytest.approx(0.04 + half, rel=1e-6)
    assert difference.p_value == pytest.approx(stats.ttest_rel(OWN, OTHER).pvalue)


def test_nadeau_bengio_by_hand() -> None:
    # The factor 1/4 becomes 1/4 + 1/3 where the test split is a third of the training split.
    difference = paired_difference(OWN, OTHER, higher_is_better=True, test_share=1 / 3)
    error = math.sqrt((1 / 4 + 1 / 3) * 0.0056 / 3)
    assert difference.interval.high == pytest.approx(0.04 + 3.182446 * error, rel=1e-6)
    assert difference.p_value == pytest.approx(2 * stats.t.sf(0.04 / error, 3))


def test_probability_of_improvement_counts_ties_half() -> None:
    assert paired_difference(OWN, OTHER, higher_is_better=True).probability_of_improvement == 0.875
    assert paired_difference(OWN, OTHER, higher_is_better=False).probability_of_improvement == 0.125


@pytest.mark.parametrize(
    ("gap", "p_value", "said"), [(0.0, 1.0, "undecided"), (0.1, 0.25, "undecided")]
)
def test_equal_gaps_prove_nothing_in_three_seeds(gap: float, p_value: float, said: str) -> None:
    other = [0.7, 0.8, 0.6]
    difference = paired_difference([x + gap for x in other], other, higher_is_better=True)
    assert difference.p_value == p_value
    assert verdict(difference, higher_is_better=True) == said


def test_verdict_knows_which_way_is_better() -> None:
    low, high = [0.1, 0.12, 0.11, 0.1], [0.3, 0.33, 0.29, 0.31]
    up = paired_difference(high, low, higher_is_better=True)
    assert verdict(up, higher_is_better=True) == "better"
    assert verdict(up, higher_is_better=False) == "worse"
    down = paired_difference(low, high, higher_is_better=False)
    assert verdict(down, higher_is_better=False) == "better"


@pytest.mark.parametrize(("margin", "said"), [(0.02, "equal"), (0.005, "undecided")])
def test_equal_is_an_interval_within_the_margin(margin: float, said: str) -> None:
    other = [0.80, 0.82, 0.84, 0.86, 0.81]
    own = [x + gap for x, gap in zip(other, (0.004, -0.006, 0.002, 0.005, -0.004), strict=True)]
    difference = paired_difference(own, other, higher_is_better=True)
    assert verdict(difference, higher_is_better=True, margin=margin) == said
    assert verdict(difference, higher_is_better=True) == "undecided"


@pytest.mark.parametrize("count", [3, 10])
def test_t_intervals_cover_with_few_values_where_the_bootstrap_does_not(count: int) -> None:
    draws = np.random.default_rng(5).normal(2.0, 1.0, (400, count))

    def coverage(intervals: list[Interval]) -> float:
        return float(np.mean([own.low <= 2.0 <= own.high for own in intervals]))

    assert coverage([mean_interval(list(row)) for row in draws]) > 0.92
    own = mean_interval(list(draws[0]))
    by_scipy = stats.ttest_1samp(draws[0], 0.0).confidence_interval(0.95)
    assert (own.low, own.high) == pytest.approx((by_scipy.low, by_scipy.high))
    if count == 3:
        assert coverage([bootstrap_interval(list(row)) for row in draws[:100]]) < 0.85


def test_bootstrap_interval_is_seeded_and_covers() -> None:
    draws = np.random.default_rng(3).normal(2.0, 1.0, (60, 12))
    intervals = [bootstrap_interval(list(row)) for row in draws]
    assert intervals[0] == bootstrap_interval(list(draws[0]))
    assert sum(i.low <= 2.0 <= i.high for i in intervals) >= 50
    assert all(i.low < i.mean < i.high for i in intervals)


@pytest.mark.parametrize("values", [[0.5] * 4, [0.5, 0.5 + 1e-17, 0.5 + 1e-16], [0.0] * 3])
def test_no_spread_no_width(values: list[float]) -> None:
    interval = mean_interval(values)
    assert interval.low == interval.mean == interval.high == pytest.approx(values[0])


def test_interquartile_mean_ignores_outliers() -> None:
    assert interquartile_mean([1, 2, 3, 4, 5, 6, 7, 1000]) == pytest.approx(4.5)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_convergence_is_the_first_reading_at_the_target() -> None:
    points = [{"epochs": e, "accuracy": a} for e, a in ((1, 0.6), (2, 0.8), (3, 0.7), (4, 0.9))]
    assert epochs_to_target(points, 0.8) == 2
    assert epochs_to_target(points, 0.95) is None
    assert epochs_to_target([{"epochs": 1, "accuracy": None}], 0.5) is None


def test_never_reached_counts_as_later_than_any_time() -> None:
    assert summarise_convergence([2.0, None, 4.0])["median_epochs"] == 4.0
    half = summarise_convergence([2.0, None, 4.0, None])
    assert half == {"reached": 2, "runs": 4, "median_epochs": None}


def test_interquartile_interval_is_seeded_and_around_its_mean() -> None:
    values = [0.1, 0.5, 0.52, 0.55, 0.6, 0.61, 0.7, 9.0]
    interval = iqm_interval(values)
    assert interval == iqm_interval(values)
    assert interval.mean == interquartile_mean(values)
    assert interval.low < interval.mean < interval.high
    assert iqm_interval([0.5] * 4).low == 0.5


def test_paired_differences_have_bootstrap_intervals_too() -> None:
    difference = paired_difference(OWN, OTHER, higher_is_better=True)
    gaps = [a - b for a, b in zip(OWN, OTHER, strict=True)]
    assert difference.bootstrap == bootstrap_interval(gaps)
    assert difference.iqm.mean == pytest.approx((0.02 + 0.04) / 2)
    assert difference.bootstrap.low > difference.interval.low


def test_times_are_compared_where_both_get_there() -> None:
    own = [1.0, 2.0, 4.0, 3.0, None, None]
    other = [2.0, 4.0, 8.0, None, 5.0, None]
    found = compare_convergence(own, other)
    assert (found["both"], found["only_own"], found["only_other"]) == (3, 1, 1)
    assert found["speedup"] == pytest.approx(2.0)
    assert found["interval"]["mean"] == pytest.approx(-7 / 3)
    assert found["p_value"] == pytest.approx(stats.ttest_rel(own[:3], other[:3]).pvalue)  # type: ignore[type-var]


def test_two_pairs_of_times_have_no_interval() -> None:
    found = compare_convergence([1.0, 2.0, None], [3.0, 6.0, 1.0])
    assert found["speedup"] == pytest.approx(3.0)
    assert found["interval"] is None
    assert compare_convergence([None], [1.0])["speedup"] is None
