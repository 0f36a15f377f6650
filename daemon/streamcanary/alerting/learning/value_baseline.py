"""Estimates the usual values of a measure, such as the time to the first token, so that a change can be recognised.

All functions are pure. Values are such that higher is worse. The *limit* is a high quantile of the values, so that a
known part of them is above it while nothing has changed; a detector of failures then counts the samples above it.

1. The limit is the median of the quantiles of blocks, so that the values of an incident, or of a slow day, do not raise
   it. From three days on there is one for each quarter of the day (UTC), and the highest is used: the busy hours are
   not a change. From seven days on, where the quarters differ, each has its own.
2. The part of the samples above the limit, and its autocorrelation, are estimated as a base rate is
   (:func:`estimate_base_rate`): outside incidents, with an upper bound. What the limit misses, they contain.
3. The distribution of the values relative to the limit (for each quantile the median of the blocks) says which part is
   above it when all are worse by a factor.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median, median_low
from typing import Final

from streamcanary.alerting.learning.base_rate import CusumSteps, estimate_base_rate
from streamcanary.alerting.learning.baseline import QUANTILES, SEASONS, LearnedValues
from streamcanary.alerting.learning.failure_series import FailureSeries

QUANTILE: Final = 0.9
"""The part of the values that is below the limit."""

MIN_SPAN: Final = 86400.0
"""Seconds that the values must span: the night says nothing about the day."""

MAX_EXCEEDANCE: Final = 0.25
"""The highest part of the values above the limit that a detector is given as normal."""

_DAY = 86400.0
_DAYS_WITH_SEASONS = 3.0
_DAYS_WITH_SEASONAL_LIMITS = 7.0
_MIN_DIFFERENCE = 1.2  # between the limits of the quarters of the day
_MIN_BLOCK = 25  # values; fewer have no 90 % quantile to speak of
_MAX_BLOCKS = 28


class ValueSeries:
    """Values of a measure with their times (seconds since the epoch), the oldest first."""

    def __init__(self) -> None:
        self._times = array("d")
        self._values = array("d")

    def append(self, at: float, value: float) -> None:
        """Add the next value. A time before that of the last value (the clock was set back) counts as that one."""
        self._times.append(max(at, self._times[-1]) if self._times else at)
        self._values.append(value)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def span(self) -> float:
        """Seconds from the first to the last value."""
        return self._times[-1] - self._times[0] if self._times else 0.0

    @property
    def values(self) -> Sequence[float]:
        """All values."""
        return self._values

    @property
    def seasons(self) -> Sequence[int]:
        """The quarter of the day (UTC) of each value, from 0 to 3."""
        return [season_of(at) for at in self._times]


def season_of(at: float) -> int:
    """Return the quarter of the day (UTC), from 0 to 3, of a time in seconds since the epoch."""
    return int(at % _DAY // (_DAY / SEASONS))


def estimate_values(series: ValueSeries, cusum: CusumSteps) -> LearnedValues | None:
    """Return what is normal for ``series``; ``None`` if it spans less than a day, or has too few values.

    ``cusum`` is called with the parts of the values above the limit.
    """
    if series.span < MIN_SPAN or not (limits := _limits(series)):
        return None
    values, seasons = series.values, series.seasons
    limit_by_season = limits if len(limits) == SEASONS else limits * SEASONS
    ratios = [value / (limit_by_season[season] or 1.0) for value, season in zip(values, seasons, strict=True)]
    above = FailureSeries(ratio > 1 for ratio in ratios)
    rate = estimate_base_rate(above, cusum, MAX_EXCEEDANCE)
    if rate is None:
        return None
    blocks = list(_blocks(ratios, _MAX_BLOCKS))
    levels = [(number + 0.5) / QUANTILES for number in range(QUANTILES)]
    quantiles = tuple(median_low(_quantile(block, level) for block in blocks) for level in levels)
    return LearnedValues(
        limits=limits,
        typical=quantiles[QUANTILES // 2] * median(limits),
        quantiles=quantiles,
        above=rate,
        days=series.span / _DAY,
    )


def fraction_above(quantiles: Sequence[float], factor: float) -> float:
    """Return the part of the values that is above the limit when all are ``factor`` times as high."""
    return 1 - bisect_right(quantiles, 1 / factor) / len(quantiles)


def _limits(series: ValueSeries) -> tuple[float, ...]:
    """Return one limit, or one for each quarter of the day; none if there are too few values."""
    by_season: list[list[float]] = [[] for _ in range(SEASONS)]
    for value, season in zip(series.values, series.seasons, strict=True):
        by_season[season].append(value)
    days = series.span / _DAY
    if days < _DAYS_WITH_SEASONS or min(len(values) for values in by_season) < 2 * _MIN_BLOCK:
        quantiles = _block_quantiles(series.values, _MAX_BLOCKS)
        return (median_low(quantiles),) if quantiles else ()
    limits = tuple(median(_block_quantiles(values, max(2, round(days)))) for values in by_season)
    if days >= _DAYS_WITH_SEASONAL_LIMITS and max(limits) >= _MIN_DIFFERENCE * min(limits):
        return limits
    return (max(limits),)


def _block_quantiles(values: Sequence[float], max_blocks: int) -> list[float]:
    return [_quantile(block, QUANTILE) for block in _blocks(values, max_blocks)]


def _blocks(values: Sequence[float], max_blocks: int) -> Iterator[list[float]]:
    """Yield at most ``max_blocks`` neighbouring parts of ``values`` of the same size, each ordered by value."""
    count = min(max_blocks, len(values) // _MIN_BLOCK)
    edges = [round(number * len(values) / count) for number in range(count + 1)] if count else []
    return (sorted(values[start:end]) for start, end in pairwise(edges))


def _quantile(ordered: Sequence[float], part: float) -> float:
    """Return the quantile of ``ordered`` values: the lowest that at least ``part`` of them do not exceed."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
