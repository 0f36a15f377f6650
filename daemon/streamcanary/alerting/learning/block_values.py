"""Estimates the usual values of a measure from their distributions in blocks (hours, quarters of a day).

This is for fleets whose recorded runs reach back some hours only. All functions are pure. The limits are those of
:mod:`streamcanary.alerting.learning.value_baseline`, with the blocks of rollups in place of parts of the values; what
is above them is estimated by :mod:`streamcanary.alerting.learning.block_rate`.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import median, median_low
from typing import Final, NamedTuple

from streamcanary.alerting.learning.base_rate import CusumSteps
from streamcanary.alerting.learning.baseline import DAY, QUANTILES, SEASONS, LearnedValues, season_of
from streamcanary.alerting.learning.block_rate import Clustering, clustering_of, estimate_block_rate
from streamcanary.alerting.learning.failure_series import FailureSeries
from streamcanary.alerting.learning.rollup_samples import Block
from streamcanary.alerting.learning.value_baseline import (
    DAYS_WITH_BLOCKS,
    MAX_AUTOCORRELATION,
    MAX_BLOCKS,
    MAX_EXCEEDANCE,
    MIN_BLOCK,
    MIN_SPAN,
    QUANTILE,
    SmallestChange,
    seasonal_limits,
)
from streamcanary.model.statistics.answer_values import AnswerValue
from streamcanary.model.statistics.quantile_sketch import (
    QuantileSketch,
    count_above,
    merge_sketch,
    quantiles,
    value_count,
)
from streamcanary.model.statistics.rollup import HOUR, QUARTER_DAY, Rollup

_MAX_POOLED_BLOCKS = 4_000  # whose quantiles are kept for several canaries together, and one of each canary at least
_LEVELS: Final = [(number + 0.5) / QUANTILES for number in range(QUANTILES)]


class CanaryValues(NamedTuple):
    """The values of one canary: its limits, the samples above them, and the quantiles of some blocks in limits."""

    limits: tuple[float, ...]
    days: float
    blocks: list[Block]
    clustering: Clustering
    quantiles: list[list[float]]


class PooledValues:
    """The values of all canaries of a rule, of which there are ``count``: what each adds is kept as a sum."""

    def __init__(self, count: int) -> None:
        self.limits: dict[str, tuple[float, ...]] = {}
        self.days = 0.0
        self.blocks: list[Block] = []
        self.clustering = Clustering()
        self.quantiles: list[list[float]] = []
        self._max_blocks = max(1, min(MAX_BLOCKS, _MAX_POOLED_BLOCKS // max(1, count)))

    def add(self, identity: str, values: CanaryValues) -> None:
        """Add the values of the canary of ``identity``."""
        self.limits[identity] = values.limits
        self.days = max(self.days, values.days)
        self.blocks = add_blocks([*self.blocks, *values.blocks])
        self.clustering = self.clustering.add(values.clustering)
        step = -(-len(values.quantiles) // self._max_blocks)
        self.quantiles += values.quantiles[::step]


class _Part(NamedTuple):
    """The values from ``started`` (seconds since the epoch) on, for ``length`` seconds."""

    started: int
    length: int
    sketch: QuantileSketch


def summarize_values(name: AnswerValue, rollups: Iterable[Rollup], change: SmallestChange) -> CanaryValues | None:
    """Return the values of a canary in its ``rollups``, in the order of time; ``None`` if they span less than a day."""
    parts = [_Part(each.started, each.length, each.details.sketch(name)) for each in rollups]
    parts = [part for part in parts if part.sketch]
    if not parts:
        return None
    span = parts[-1].started + parts[-1].length - parts[0].started - HOUR  # at least
    if span < MIN_SPAN:
        return None
    limits = _limits(parts, span / DAY, change)
    if not any(limits):
        return None
    learned = LearnedValues(limits={"": limits}, days=span / DAY)
    measured = [(part, limit) for part in parts if (limit := learned.limit("", part.started)) is not None]
    blocks = [
        Block(part.started, part.length, value_count(part.sketch), round(count_above(part.sketch, limit)))
        for part, limit in measured
    ]
    step = -(-len(measured) // MAX_BLOCKS)
    shares = [[end / limit for end in quantiles(part.sketch, _LEVELS)] for part, limit in measured[::step]]
    clustering = clustering_of(blocks, MAX_AUTOCORRELATION, by_season=True, first_autocorrelation=MAX_AUTOCORRELATION)
    return CanaryValues(limits, span / DAY, blocks, clustering, shares)


def estimate_block_values(
    values: PooledValues, latest: FailureSeries, cusum: CusumSteps, change: SmallestChange
) -> LearnedValues | None:
    """Return what is normal for the canaries of ``values`` together; ``None`` if there are too few samples.

    ``latest`` are the latest samples above the limits, one by one; ``cusum`` and ``change``, with which the limits were
    computed, are as for :func:`~streamcanary.alerting.learning.value_baseline.estimate_values`.
    """
    if not values.limits:
        return None
    rate = estimate_block_rate(
        values.blocks, values.clustering, latest, cusum, MAX_EXCEEDANCE, MAX_AUTOCORRELATION, by_season=True
    )
    if rate is None:
        return None
    return LearnedValues(
        limits=values.limits,
        days=values.days,
        above=rate,
        quantiles=tuple(round(median_low(level), 4) for level in zip(*values.quantiles, strict=True)),
        smallest_change=round(change.factor, 6),
    )


def add_blocks(blocks: Iterable[Block]) -> list[Block]:
    """Return one block for each period, the sum of those of several canaries.

    How often a sample of all of them follows another is not known.
    """
    sums: dict[tuple[int, int], Block] = {}
    for block in blocks:
        key = block.started, block.length
        known = sums.get(key)
        sums[key] = (
            block
            if known is None
            else known._replace(total=known.total + block.total, bad=known.bad + block.bad, repeats=None)
        )
    return [sums[key] for key in sorted(sums)]


def _limits(parts: Sequence[_Part], days: float, change: SmallestChange) -> tuple[float, ...]:
    """Return the limit of a canary, or one for each quarter of the day."""
    by_season: list[list[float]] = [[] for _ in range(SEASONS)]
    for _, quarter in groupby(parts, lambda part: part.started // QUARTER_DAY):
        some = list(quarter)
        sketches = _merged(some, 0) if days >= DAYS_WITH_BLOCKS else _merged(some, MIN_BLOCK)
        by_season[season_of(some[0].started)] += [_limit(sketch, change) for sketch in sketches]
    if not all(by_season):
        found = [_limit(sketch, change) for sketch in _merged(parts, MIN_BLOCK)]
        return (median_low(found),) if found else ()
    if days < DAYS_WITH_BLOCKS:
        return (max(median_low(limits) for limits in by_season),)
    return seasonal_limits(tuple(median(limits) for limits in by_season), days)


def _merged(parts: Sequence[_Part], size: int) -> list[QuantileSketch]:
    """Return sketches of ``size`` values or more each, or one of all if it is 0; none if they are too few."""
    found: list[QuantileSketch] = []
    pending: QuantileSketch = {}
    for part in parts:
        merge_sketch(pending, part.sketch)
        if size and value_count(pending) >= size:
            found.append(pending)
            pending = {}
    if value_count(pending) >= MIN_BLOCK:
        found.append(pending)
    return found


def _limit(sketch: QuantileSketch, change: SmallestChange) -> float:
    usual, high = quantiles(sketch, (0.5, QUANTILE))
    return change.limit_for(usual, high)
