"""Estimates the usual values of a measure, such as the time to the first token, so that a change can be recognised.

All functions are pure. Values are such that higher is worse. The *limit* of a canary is a high quantile of its values,
so that a known part of them is above it while nothing has changed; a detector then counts the samples above the limit.
Where the values vary little, the limit is higher, so that a change smaller than the one to detect is not above it.

1. The limit is the median of the limits of blocks, so that the values of an incident, or of a slow day, do not raise
   it. Each quarter of the day (UTC) has one, and the highest is used: the busy hours are not a change. From seven days
   on, where the quarters differ, each has its own.
2. The part of the samples above the limit, and its autocorrelation, are estimated as a base rate is
   (:func:`estimate_base_rate`): outside incidents, with an upper bound. What the limit misses, they contain.
3. The distribution of the values relative to the limit (for each quantile the median of the blocks) says which part is
   above it when all are worse by a factor.

The values of several canaries are compared each with the limit of its own canary.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median, median_low
from typing import Final, NamedTuple

from streamcanary.alerting.learning.base_rate import CusumSteps, estimate_base_rate
from streamcanary.alerting.learning.baseline import DAY, QUANTILES, SEASONS, LearnedValues, season_of
from streamcanary.alerting.learning.failure_series import FailureSeries
from streamcanary.alerting.learning.value_autocorrelation import autocorrelation_of_slow_values

QUANTILE: Final = 0.9
"""The part of the values that is below the limit."""

MIN_SPAN: Final = 23 * 3600.0
"""Seconds that the values of a canary must span: the night says nothing about the day. It is less than a day so that
the first evaluation after a day finds enough of them."""

MAX_EXCEEDANCE: Final = 0.25
"""The highest part of the values above the limit that a detector is given as normal."""

MAX_AUTOCORRELATION: Final = 0.98
"""The highest autocorrelation of slow answers that is learned: unlike failures, they come in long bursts."""

DAYS_WITH_BLOCKS = 3.0  # from then on, a block of a quarter of the day is one of a day
DAYS_WITH_BURSTS = 6.9  # from then on, bursts of slow answers are counted, and not inferred from all values
_DAYS_WITH_SEASONAL_LIMITS = 7.0
_MIN_DIFFERENCE = 1.2  # between the limits of the quarters of the day
MIN_BLOCK = 25  # values; fewer have no 90 % quantile to speak of
MAX_BLOCKS = 28


class SmallestChange(NamedTuple):
    """The smallest change of all values that may be above the limit: by ``factor``, and by ``increase`` (seconds)."""

    factor: float = 1.0
    increase: float = 0.0

    def limit_of(self, ordered: Sequence[float]) -> float:
        """Return the limit for ``ordered`` values. If nearly all are zero it is zero: they have no factor."""
        return self.limit_for(_quantile(ordered, 0.5), _quantile(ordered, QUANTILE))

    def limit_for(self, usual: float, high: float) -> float:
        """Return the limit for the median and the 90 % quantile of values."""
        return max(high, usual * self.factor, usual + self.increase) if high > 0 else 0.0


ANY_CHANGE: Final = SmallestChange()
"""All changes of values may be above their limit."""


class ValueSeries:
    """Values of a measure with their times (seconds since the epoch) and canaries (by identity), the oldest first."""

    def __init__(self) -> None:
        self._times = array("d")
        self._values = array("d")
        self._canaries = array("L")
        self._numbers: dict[str, int] = {}

    def append(self, canary: str, at: float, value: float) -> None:
        """Add the next value. A time before that of the last value (the clock was set back) counts as that one."""
        self._times.append(max(at, self._times[-1]) if self._times else at)
        self._values.append(value)
        self._canaries.append(self._numbers.setdefault(canary, len(self._numbers)))

    def __len__(self) -> int:
        return len(self._values)

    def by_canary(self) -> dict[str, list[tuple[float, float]]]:
        """Return the times and values of each canary."""
        found: list[list[tuple[float, float]]] = [[] for _ in self._numbers]
        for at, value, number in zip(self._times, self._values, self._canaries, strict=True):
            found[number].append((at, value))
        return dict(zip(self._numbers, found, strict=True))

    def ratios(self, values: LearnedValues) -> list[float]:
        """Return each value relative to the limit of its canary in ``values``; those without a limit are left out."""
        names = list(self._numbers)
        found = []
        for at, value, number in zip(self._times, self._values, self._canaries, strict=True):
            if (limit := values.limit(names[number], at)) is not None:
                found.append(value / limit)
        return found


def estimate_values(
    series: ValueSeries, cusum: CusumSteps, change: SmallestChange = ANY_CHANGE
) -> LearnedValues | None:
    """Return what is normal for ``series``; ``None`` if no canary has a day of values, or all have too few.

    ``cusum`` is called with the parts of the values above the limit. No limit is less than ``change`` above the median.
    """
    by_canary = series.by_canary()
    limits = {canary: found for canary, values in by_canary.items() if (found := _limits(values, change))}
    if not limits:
        return None
    days = max(values[-1][0] - values[0][0] for values in by_canary.values()) / DAY
    learned = LearnedValues(limits=limits, days=days)
    ratios = series.ratios(learned)
    rate = estimate_base_rate(
        FailureSeries(ratio > 1 for ratio in ratios),
        cusum,
        MAX_EXCEEDANCE,
        max_autocorrelation=MAX_AUTOCORRELATION,
        first_autocorrelation=MAX_AUTOCORRELATION,
        min_autocorrelation=_min_autocorrelation(by_canary, ratios, days),
    )
    if rate is None:
        return None
    blocks = list(_blocks(ratios, MAX_BLOCKS))
    levels = [(number + 0.5) / QUANTILES for number in range(QUANTILES)]
    quantiles = tuple(round(median_low(_quantile(block, level) for block in blocks), 4) for level in levels)
    return LearnedValues(
        limits=limits, days=days, above=rate, quantiles=quantiles, smallest_change=round(change.factor, 6)
    )


def _min_autocorrelation(
    by_canary: Mapping[str, Sequence[tuple[float, float]]], ratios: Sequence[float], days: float
) -> float:
    """Return how much slow answers cluster by what all values say; 0 after seven days, which show it themselves."""
    if days >= DAYS_WITH_BURSTS:
        return 0.0
    canaries = ([value for _, value in values] for values in by_canary.values())
    return autocorrelation_of_slow_values((ratios, *canaries), days * DAY)


def _limits(values: Sequence[tuple[float, float]], change: SmallestChange) -> tuple[float, ...]:
    """Return the limit of a canary, or one for each quarter of the day; none if its values are too few.

    In the first days a quarter has several blocks: an incident in less than half of it does not raise its limit.
    """
    span = values[-1][0] - values[0][0]
    if span < MIN_SPAN or len(values) < 2 * MIN_BLOCK:
        return ()
    by_season: list[list[float]] = [[] for _ in range(SEASONS)]
    for at, value in values:
        by_season[season_of(at)].append(value)
    days = span / DAY
    if min(len(some) for some in by_season) < MIN_BLOCK:
        return (median_low(_block_limits([value for _, value in values], MAX_BLOCKS, change)),)
    if days < DAYS_WITH_BLOCKS:
        return (max(median_low(_block_limits(some, MAX_BLOCKS // SEASONS, change)) for some in by_season),)
    limits = tuple(median(_block_limits(some, round(days), change)) for some in by_season)
    return seasonal_limits(limits, days)


def seasonal_limits(limits: tuple[float, ...], days: float) -> tuple[float, ...]:
    """Return ``limits``, one for each quarter of the day, if they differ and ``days`` say so; else the highest."""
    if days >= _DAYS_WITH_SEASONAL_LIMITS and max(limits) >= _MIN_DIFFERENCE * min(limits):
        return limits
    return (max(limits),)


def _block_limits(values: Sequence[float], max_blocks: int, change: SmallestChange) -> list[float]:
    return [change.limit_of(block) for block in _blocks(values, max_blocks)]


def _blocks(values: Sequence[float], max_blocks: int) -> Iterator[list[float]]:
    """Yield at most ``max_blocks`` neighbouring parts of ``values`` of the same size, each ordered by value."""
    count = min(max_blocks, len(values) // MIN_BLOCK)
    edges = [round(number * len(values) / count) for number in range(count + 1)] if count else []
    return (sorted(values[start:end]) for start, end in pairwise(edges))


def _quantile(ordered: Sequence[float], part: float) -> float:
    """Return the quantile of ``ordered`` values: the lowest that at least ``part`` of them do not exceed."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
