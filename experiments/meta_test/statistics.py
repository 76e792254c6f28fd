"""Statistics of the meta-test: interquartile means of paired gaps, and medians over entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.statistics import CONFIDENCE, Interval
from lr_env.randomness import numpy_generator

OVER_ENTRIES = 1999
"""Resamples of statistics over all entries, whose every resample is of thousands of numbers."""
Array = NDArray[np.float64]


def median_over_entries(log_ratios: Sequence[Array]) -> Interval:
    """Return the median over entries of the interquartile mean of each `[rates, seeds]`."""
    return _over_entries(log_ratios, _trimmed, np.median)


def improvement_over_entries(log_ratios: Sequence[Array]) -> Interval:
    """Return the mean over entries of the share of pairs below 0, ties half."""
    return _over_entries(log_ratios, _share_below, np.mean)


def _over_entries(
    tables: Sequence[Array], within: Callable[..., Any], across: Callable[..., Any]
) -> Interval:
    """Return a statistic with its interval; seeds are resampled within entries, rates kept."""

    def statistic(*rows: NDArray[np.int64], axis: int = -1) -> Any:
        # Seeds `[..., S]` of each entry; their values at all rates are taken together.
        values = [
            np.moveaxis(table[:, own], 0, -2).reshape(*own.shape[:-1], -1)
            for table, own in zip(tables, rows, strict=True)
        ]
        return across(np.stack([within(own, axis=-1) for own in values]), axis=0)

    seeds = tuple(np.arange(table.shape[1]) for table in tables)
    centre = float(statistic(*seeds))
    found = stats.bootstrap(
        seeds, statistic, vectorized=True, confidence_level=CONFIDENCE, method="percentile",
        n_resamples=OVER_ENTRIES, rng=numpy_generator(0, "entries"), batch=200,
    ).confidence_interval  # fmt: skip
    return Interval(centre, float(found.low), float(found.high))


def _trimmed(values: Array, axis: int = -1) -> Any:
    return stats.trim_mean(values, 0.25, axis=axis)


def _share_below(values: Array, axis: int = -1) -> Any:
    return np.mean((values < 0.0) + 0.5 * (values == 0.0), axis=axis)
