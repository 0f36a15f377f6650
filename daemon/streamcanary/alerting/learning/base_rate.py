"""Estimates the base rate of a series of samples: how often they are bad, and how long, while there is no incident.

All functions are pure. The steps, and why the estimate is robust:

1. Incidents are left out: excursions of the same CUSUM that the rule has, with its threshold, from the first bad sample
   to the resolve (:meth:`FailureSeries.without_incidents`). As its threshold depends on the base rate and the
   autocorrelation, both are estimated again until they do not change.
2. What a CUSUM against a high rate overlooks, such as a day at 8 %, is left out in blocks: those that have far more bad
   samples than the median of all blocks (the filter of Hampel, *The influence curve*, JASA 69, 1974).
3. The autocorrelation is that of a Markov chain with two states, estimated by the fraction of bad samples after bad
   ones, drawn towards a prior by as much as there are few of them, with a standard error added; or by the variance of
   counts, if that is higher.
4. The upper bound is that of Wilson (*Probable inference*, JASA 22, 1927; one-sided, 95 %) for the number of
   independent samples that would say as much as these: ``n (1 - r) / (1 + r)`` with an autocorrelation of ``r``.
"""

import math
from collections.abc import Callable, Iterable
from statistics import median, variance
from typing import Final

from streamcanary.alerting.learning.baseline import PRIOR_AUTOCORRELATION, LearnedRate, round_up
from streamcanary.alerting.learning.failure_series import FailureSeries

MIN_SAMPLES: Final = 200
"""Samples outside incidents below which nothing is learned: none bad of 200 still allows a rate of 1.3 %."""

MAX_AUTOCORRELATION: Final = 0.5
"""No autocorrelation over this is learned: longer bursts are incidents, and must fire."""

_PRIOR_WEIGHT = 10.0  # bad samples that say as much as the prior
_CLUSTER = 32  # samples; about as many as a detector needs to fire
_MIN_CLUSTERS = 30
_MIN_BAD = 20  # samples; the variance of fewer is chance
_START_RATE = 0.02
_MAX_ROUNDS = 8
_Z = 1.6449  # of the standard normal distribution, 95 % one-sided
_BLOCKS = 28  # quarters of a day in a week
_MIN_BLOCK = 100  # samples
_MAX_DEVIATION = 4.0  # standard deviations of a block above the median

CusumSteps = Callable[[float, float], tuple[int, int]]
"""Returns the step of a bad sample and the threshold of a CUSUM for a base rate and an autocorrelation."""


def estimate_base_rate(
    series: FailureSeries,
    cusum: CusumSteps,
    max_rate: float = 0.05,
    min_samples: int = MIN_SAMPLES,
    max_autocorrelation: float = MAX_AUTOCORRELATION,
) -> LearnedRate | None:
    """Return the base rate of ``series``; ``None`` if there are fewer than ``min_samples`` outside incidents.

    ``cusum`` is called with rates up to ``max_rate`` only. If more than half of the samples are in incidents, failing
    is what the series normally does: then all samples count. Their autocorrelation is that of the incidents, and not
    learned: after an outage in a young history it would delay each later alert.
    """
    rate, autocorrelation = min(_START_RATE, max_rate), PRIOR_AUTOCORRELATION
    normal, estimated = series, autocorrelation
    for _ in range(_MAX_ROUNDS):
        normal = series.without_incidents(*cusum(rate, autocorrelation))
        normal = series if 2 * normal.total < series.total else _without_bad_blocks(normal, autocorrelation)
        before = rate, autocorrelation
        estimated = PRIOR_AUTOCORRELATION if normal is series else estimate_autocorrelation(normal, max_autocorrelation)
        # rounded, so that the rounds end, and that few thresholds are computed
        autocorrelation = round(estimated * 20) / 20
        rate = min(round_up(upper_bound(normal.bad, normal.total, autocorrelation)), max_rate)
        if before == (rate, autocorrelation):
            break
    if normal.total < min_samples:
        return None
    return LearnedRate(
        bad=normal.bad,
        total=normal.total,
        in_incidents=series.total - normal.total,
        upper_bound=upper_bound(normal.bad, normal.total, estimated),
        autocorrelation=round(estimated, 3),
    )


def estimate_autocorrelation(series: FailureSeries, highest: float = MAX_AUTOCORRELATION) -> float:
    """Return the lag-1 autocorrelation of ``series``, from 0 to ``highest``.

    In a Markov chain with the rate ``p`` a bad sample follows a bad one with the probability ``p + r (1 - p)``. Bad
    samples that come close to each other without being neighbours cluster, too: of two estimates, by neighbours and by
    the variance of counts, it is the higher. The first has a standard error added, as too low a value means more false
    pages than promised: the prior alone would hide the bursts of a canary that seldom fails.
    """
    if not series.total or series.bad == series.total:
        return PRIOR_AUTOCORRELATION
    rate = series.bad / series.total
    by_repeats = autocorrelation_of_repeats(rate, series.repeats, series.followed)
    return min(max(0.0, by_repeats, _clustering(series, rate)), highest)


def autocorrelation_of_repeats(rate: float, repeats: int, followed: int) -> float:
    """Return the autocorrelation of samples bad at ``rate`` (below 1) if bad ones follow ``repeats`` of the bad ones.

    ``followed`` is the number of bad samples that have a sample after them. A standard error is added.
    """
    prior = rate + PRIOR_AUTOCORRELATION * (1 - rate)
    count = followed + _PRIOR_WEIGHT
    part = (repeats + _PRIOR_WEIGHT * prior) / count
    part += math.sqrt(part * (1 - part) / count)
    return (part - rate) / (1 - rate)


def _clustering(series: FailureSeries, rate: float) -> float:
    """Return the autocorrelation of the Markov chain whose counts vary as those of ``series`` do, less one deviation.

    The variance of counts is ``(1 + r) / (1 - r)`` times that of independent samples.
    """
    counts = [block.bad for block in series.blocks(_CLUSTER)]
    if len(counts) < _MIN_CLUSTERS or series.bad < _MIN_BAD:
        return 0.0
    dispersion = variance(counts) / (_CLUSTER * rate * (1 - rate))
    deviation = 2 * dispersion / (dispersion + 1) ** 2 * math.sqrt(2 / len(counts))
    return (dispersion - 1) / (dispersion + 1) - deviation


def upper_bound(bad: float, total: float, autocorrelation: float = 0.0) -> float:
    """Return the upper confidence bound of a rate (one-sided, 95 %) after ``bad`` of ``total`` samples; 1 for none."""
    if total <= 0:
        return 1.0
    rate, size = bad / total, total * (1 - autocorrelation) / (1 + autocorrelation)
    squared = _Z * _Z / size
    deviation = math.sqrt(rate * (1 - rate) * squared + squared * squared / 4)
    return min(1.0, (rate + squared / 2 + deviation) / (1 + squared))


def _without_bad_blocks(series: FailureSeries, autocorrelation: float) -> FailureSeries:
    """Return ``series`` without the blocks that have far more bad samples than the median block."""
    blocks = list(series.blocks(max(_MIN_BLOCK, series.total // _BLOCKS)))
    rate = median(block.bad / block.total for block in blocks) if blocks else 0.0
    normal = [block for block in blocks if is_normal_count(block.bad, block.total, rate, autocorrelation)]
    return series if len(normal) == len(blocks) else _joined(normal)


def is_normal_count(bad: int, total: int, rate: float, autocorrelation: float) -> bool:
    """Return whether ``bad`` of ``total`` samples are not far more than those expected at ``rate``."""
    clustering = (1 + autocorrelation) / (1 - autocorrelation)  # the variance, compared with independent samples
    expected = max(rate * total, 1.0)
    return bad <= expected + _MAX_DEVIATION * math.sqrt(expected * clustering)


def _joined(blocks: Iterable[FailureSeries]) -> FailureSeries:
    return FailureSeries(bad for block in blocks for bad in block)
