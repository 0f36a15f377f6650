"""Estimates the usual values of a measure from their distributions in blocks (hours, quarters of a day).

This is for fleets whose recorded runs reach back some hours only. All functions are pure. The limits are those of
:mod:`streamcanary.alerting.learning.value_baseline`, with the blocks of rollups in place of parts of the values; what
is above them is estimated by :mod:`streamcanary.alerting.learning.block_rate`.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
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
from streamcanary.model.answer_values import AnswerValue
from streamcanary.model.quantile_sketch import QuantileSketch, count_above, merge_sketch, quantiles, value_count
from streamcanary.model.rollup import HOUR, QUARTER_DAY, Rollup

_LEVELS: Final = [(number + 0.5) / QUANTILES for number in range(QUANTILES)]


class CanaryValues(NamedTuple):
    """The values of one canary: its limits, the samples above them, and the quantiles of some blocks in limits."""

    limits: tuple[float, ...]
    days: float
    blocks: list[Block]
    clustering: Clustering
    quantiles: list[list[float]]


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
    canaries: Mapping[str, CanaryValues], latest: FailureSeries, cusum: CusumSteps, change: SmallestChange
) -> LearnedValues | None:
    """Return what is normal for ``canaries`` (by identity) together; ``None`` if there are too few samples.

    ``latest`` are the latest samples above the limits, one by one; ``cusum`` and ``change``, with which the limits were
    computed, are as for :func:`~streamcanary.alerting.learning.value_baseline.estimate_values`.
    """
    if not canaries:
        return None
    blocks = add_blocks(block for each in canaries.values() for block in each.blocks)
    clustering = reduce(Clustering.add, (each.clustering for each in canaries.values()))
    rate = estimate_block_rate(blocks, clustering, latest, cusum, MAX_EXCEEDANCE, MAX_AUTOCORRELATION, by_season=True)
    if rate is None:
        return None
    shares = [each for canary in canaries.values() for each in canary.quantiles]
    return LearnedValues(
        limits={identity: canary.limits for identity, canary in canaries.items()},
        days=max(canary.days for canary in canaries.values()),
        above=rate,
        quantiles=tuple(round(median_low(level), 4) for level in zip(*shares, strict=True)),
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
