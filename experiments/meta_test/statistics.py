"""Statistics of the meta-test over its entries: medians of interquartile means, improvement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.statistics import Array, Interval, bootstrap, share_above, trimmed_mean

OVER_ENTRIES = 1999
"""Resamples of statistics over all entries, whose every resample is of thousands of numbers."""
ROUNDING = 1e-6
"""Log ratios that are no difference: the same training, rounded otherwise."""


def median_over_entries(log_ratios: Sequence[Array]) -> Interval:
    """Return the median over entries of the interquartile mean of each `[rates, seeds]`."""
    return _over_entries(log_ratios, trimmed_mean, np.median)


def improvement_over_entries(log_ratios: Sequence[Array]) -> Interval:
    """Return the mean over entries of the share of pairs below 0, ties half."""
    tables = [np.where(np.abs(table) < ROUNDING, 0.0, -table) for table in log_ratios]
    return _over_entries(tables, share_above, np.mean)


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
    return bootstrap(
        seeds, statistic, float(statistic(*seeds)), "entries", resamples=OVER_ENTRIES, batch=200
    )
