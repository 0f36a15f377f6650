"""Estimates the base rate of a series of samples: how often they are bad, and how long, while there is no incident.

All functions are pure. The steps, and why the estimate is robust:

1. Incidents are left out: excursions of the same CUSUM that the rule has, with its threshold, from the first bad sample
   to the resolve (:meth:`FailureSeries.without_incidents`). As its threshold depends on the base rate and the
   autocorrelation, both are estimated again until they do not change.
2. What a CUSUM against a high rate overlooks, such as a day at 8 %, is left out in blocks: those that have far more bad
   samples than the median of all blocks (the filter of Hampel, *The influence curve*, JASA 69, 1974).
3. The autocorrelation is that of a Markov chain with two states, by the fraction of bad samples after bad ones, or, if
   counts vary more than that explains, by their variance. It is an upper bound (one-sided, 95 %) wherever bursts are
   more probable than a coincidence of independent samples, and else 0: with too low a value, long bursts would fire far
   more often than promised; with one that chance pairs raise, every outage would be detected later.
4. The upper bound is that of Wilson (*Probable inference*, JASA 22, 1927; one-sided, 95 %) for the number of
   independent samples that would say as much as these: ``n (1 - r) / (1 + r)`` with an autocorrelation of ``r``.
"""

import math
from collections.abc import Callable, Iterable
from statistics import NormalDist, fmean, median, variance
from typing import Final, NamedTuple

from streamcanary.alerting.learning.baseline import PRIOR_AUTOCORRELATION, LearnedRate, round_up
from streamcanary.alerting.learning.failure_series import FailureSeries

MIN_SAMPLES: Final = 200
"""Samples outside incidents below which nothing is learned: none bad of 200 still allows a rate of 1.3 %."""

MAX_AUTOCORRELATION: Final = 0.6
"""No autocorrelation over this is learned: longer bursts are incidents, and must fire."""

_PRIOR_WEIGHT = 10.0  # bad samples
_BURSTS_PRIOR = 0.1  # probability that failures are not independent, before any is seen
_CONFIDENCE = 0.95  # of the bound of the autocorrelation
_CLUSTERS = 32, 128  # samples: small ones show short bursts with more certainty, large ones show longer bursts
_MAX_LOG_DISPERSION = math.log(100)
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
    first_autocorrelation: float = PRIOR_AUTOCORRELATION,
    min_autocorrelation: float = PRIOR_AUTOCORRELATION,
) -> LearnedRate | None:
    """Return the base rate of ``series``; ``None`` if there are fewer than ``min_samples`` outside incidents.

    ``cusum`` is called with rates up to ``max_rate`` only. If more than half of the samples are in incidents, failing
    is what the series normally does: then all samples count. Their autocorrelation is that of the incidents, and not
    learned: after an outage in a young history it would delay each later alert.

    The rounds begin with ``first_autocorrelation``. Begun low, they take for an incident what may be a burst; begun
    high, they take an outage for a burst that is usual, and each later alert would need one as long. If those begun
    high find bursts, they are begun at 0, too, and the estimate that describes the samples better is used
    (:meth:`_Estimate.description_length`): many bursts are usual, a few long ones among independent samples are not.

    ``min_autocorrelation`` is what is known of it otherwise: no lower one is learned, and no burst that it explains is
    an incident.
    """
    if series.total < min_samples:
        return None
    bounds = min(min_autocorrelation, max_autocorrelation), max_autocorrelation
    found = _estimate(series, cusum, max_rate, bounds, max(first_autocorrelation, bounds[0]))
    if first_autocorrelation > bounds[0] and found.autocorrelation > bounds[0]:
        other = _estimate(series, cusum, max_rate, bounds, bounds[0])
        found = min(found, other, key=lambda each: each.description_length(series))
    normal = found.normal
    if normal.total < min_samples:
        return None
    return LearnedRate(
        bad=normal.bad,
        total=normal.total,
        in_incidents=series.total - normal.total,
        upper_bound=upper_bound(normal.bad, normal.total, found.autocorrelation),
        autocorrelation=round(found.autocorrelation, 3),
    )


class _Estimate(NamedTuple):
    """The samples of a series outside so many incidents, and the bound of their autocorrelation."""

    normal: FailureSeries
    incidents: int
    autocorrelation: float

    def description_length(self, series: FailureSeries) -> float:
        """Return the length (nats) of the shortest description of ``series``, of which this is an estimate.

        It has the samples outside incidents and those in incidents, each as a Markov chain with two states, and the
        first and last sample of each incident (Rissanen, *Modeling by shortest data description*, Automatica 14, 1978).
        """
        normal = self.normal
        repeats = min(max(0, series.repeats - normal.repeats), series.bad - normal.bad)
        return (
            chain_length(normal.bad, normal.total, normal.repeats)
            + chain_length(series.bad - normal.bad, series.total - normal.total, repeats)
            + 2 * self.incidents * math.log(max(series.total, 1))
        )


def bernoulli_length(bad: float, total: float) -> float:
    """Return the length (nats) of a description of independent samples, of which ``bad`` of ``total`` are bad."""
    if not 0 < bad < total:
        return 0.0
    return bad * math.log(total / bad) + (total - bad) * math.log(total / (total - bad))


def chain_length(bad: float, total: float, repeats: float) -> float:
    """Return the length (nats) of a description of the samples of a Markov chain; ``repeats`` follow a bad sample."""
    return bernoulli_length(repeats, bad) + bernoulli_length(bad - repeats, total - bad)


def _estimate(
    series: FailureSeries,
    cusum: CusumSteps,
    max_rate: float,
    bounds: tuple[float, float],
    first_autocorrelation: float,
) -> _Estimate:
    """Return the estimate of the rounds that begin with ``first_autocorrelation``; ``bounds`` are those of the last."""
    lowest, highest = bounds
    rate, autocorrelation = min(_START_RATE, max_rate), first_autocorrelation
    found = _Estimate(series, 0, autocorrelation)
    for _ in range(_MAX_ROUNDS):
        normal, incidents = series.without_incidents(*cusum(rate, autocorrelation))
        if 2 * normal.total < series.total:
            found = _Estimate(series, 0, lowest)
        else:
            normal, bad_blocks = _without_bad_blocks(normal, autocorrelation)
            bound = max(estimate_autocorrelation(normal, highest), lowest)
            found = _Estimate(normal, incidents + bad_blocks, bound)
        before = rate, autocorrelation
        # rounded, so that the rounds end, and that few thresholds are computed
        autocorrelation = min(round(found.autocorrelation * 50) / 50, highest)
        rate = min(round_up(upper_bound(found.normal.bad, found.normal.total, autocorrelation)), max_rate)
        if before == (rate, autocorrelation):
            break
    return found


def estimate_autocorrelation(series: FailureSeries, highest: float = MAX_AUTOCORRELATION) -> float:
    """Return the upper confidence bound of the lag-1 autocorrelation of ``series``, from 0 to ``highest``.

    It is that of neighbours. Bad samples that come close to each other without being neighbours cluster, too: if counts
    vary more than the neighbours explain, it is that of the variance of counts.
    """
    if not series.bad or series.bad == series.total:
        return PRIOR_AUTOCORRELATION
    rate = series.bad / series.total
    of_neighbours = max(0.0, autocorrelation_of_repeats(rate, series.repeats, series.followed))
    of_counts = (_of_counts(series, rate, of_neighbours, size) for size in _CLUSTERS)
    return min(max(of_neighbours, *of_counts), highest)


def autocorrelation_of_repeats(rate: float, repeats: float, followed: float) -> float:
    """Return the bound of the autocorrelation of the Markov chain if bad samples follow ``repeats`` of the bad ones.

    ``rate`` is the part of the samples that are bad, and ``followed`` the number of bad samples that have a sample
    after them.

    In a chain with an autocorrelation of ``r`` that is a part ``rate + r (1 - rate)`` of them: the ``rate`` itself if
    they are independent. If not, it has a beta distribution, as after some bad samples that were not followed by
    another. They are up to ten, because a single pair teaches little, and fewer, the more bad samples there are.
    """
    if not 0 < rate < 1:
        return PRIOR_AUTOCORRELATION
    alone = _PRIOR_WEIGHT**3 / (_PRIOR_WEIGHT + followed) ** 2
    count = followed + alone
    independent = repeats * math.log(rate) + (followed - repeats) * math.log1p(-rate)
    bursty = math.lgamma(repeats + 1) + math.lgamma(count - repeats + 1) - math.lgamma(count + 2)
    deviations = _deviations(bursty + math.log(alone + 1) - independent)
    return 0.0 if deviations is None else (_wilson(repeats, count, deviations) - rate) / (1 - rate)


def _of_counts(series: FailureSeries, rate: float, of_neighbours: float, size: int) -> float:
    """Return the bound of the autocorrelation of the Markov chain whose counts vary as those of ``series`` do.

    Counts are those of ``size`` samples. It is 0 if that of neighbours explains how much they vary. The dispersion
    of counts, their variance compared with that of independent samples, is estimated as a logarithm, with the
    standard error that follows from their kurtosis.
    """
    counts = [block.bad for block in series.blocks(size)]
    if len(counts) < _MIN_CLUSTERS or series.bad < _MIN_BAD:
        return 0.0
    middle, spread = fmean(counts), variance(counts)
    if spread <= 0:
        return 0.0
    kurtosis = fmean((count - middle) ** 4 for count in counts) / spread**2
    found = spread / (size * rate * (1 - rate))
    return autocorrelation_of_dispersion(found, kurtosis, len(counts), of_neighbours, size)


def autocorrelation_of_dispersion(
    dispersion: float, kurtosis: float, counts: int, of_neighbours: float | None, size: float
) -> float:
    """Return the bound of the autocorrelation of the Markov chain whose counts have this ``dispersion``.

    It is that of so many ``counts`` of ``size`` samples, which have this ``kurtosis``. The bound is 0 if the
    autocorrelation ``of_neighbours`` explains how much they vary. Where that is not known, nothing says that samples
    are independent, and the bound is always above the estimate.
    """
    if dispersion <= 0:
        return 0.0
    error = math.sqrt(max(kurtosis - 1, 2.0) / counts)
    found = math.log(dispersion)
    if of_neighbours is None:
        return _chain_with_dispersion(math.exp(found + _Z * error), size)
    explained = math.log(_dispersion(of_neighbours, size))
    clustered = NormalDist(found, error)
    bursty = (clustered.cdf(explained + _MAX_LOG_DISPERSION) - clustered.cdf(explained)) / _MAX_LOG_DISPERSION
    as_explained = clustered.pdf(explained) if found > explained else clustered.pdf(found)
    if bursty <= 0:
        return 0.0
    deviations = _deviations(math.log(bursty / as_explained) if as_explained else math.inf)
    return 0.0 if deviations is None else _chain_with_dispersion(math.exp(found + deviations * error), size)


def _dispersion(autocorrelation: float, size: float) -> float:
    """Return the dispersion of counts of ``size`` samples of a chain."""
    r = autocorrelation
    return (1 + r) / (1 - r) - 2 * r * (1 - math.pow(r, size)) / (size * (1 - r) ** 2)


def _chain_with_dispersion(dispersion: float, size: float) -> float:
    """Return the autocorrelation of the chain whose counts have this ``dispersion``; the inverse of the former."""
    low, high = 0.0, 1 - 1e-4
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if _dispersion(middle, size) < dispersion else (low, middle)
    return low


def _deviations(log_evidence: float) -> float | None:
    """Return how many standard deviations the bound is above the estimate; ``None`` if samples may be independent.

    ``log_evidence`` is the logarithm of the likelihood of bursts, relative to that of independence. The bound is the
    quantile of the posterior distribution, in which independence has a part of its own: a chance coincidence of few
    bad samples delays no alert, and where there are bursts, they are not underestimated.
    """
    evidence = log_evidence + math.log(_BURSTS_PRIOR / (1 - _BURSTS_PRIOR))
    independent = 1 / (1 + math.exp(min(evidence, 700)))
    if independent >= _CONFIDENCE:
        return None
    return NormalDist().inv_cdf((_CONFIDENCE - independent) / (1 - independent))


def upper_bound(bad: float, total: float, autocorrelation: float = 0.0) -> float:
    """Return the upper confidence bound of a rate (one-sided, 95 %) after ``bad`` of ``total`` samples; 1 for none."""
    if total <= 0:
        return 1.0
    independent = (1 - autocorrelation) / (1 + autocorrelation)
    return _wilson(bad * independent, total * independent, _Z)


def _wilson(bad: float, total: float, deviations: float) -> float:
    """Return the bound of Wilson, so many standard ``deviations`` above the rate ``bad / total``."""
    rate, squared = bad / total, deviations * deviations / total
    deviation = math.copysign(math.sqrt(rate * (1 - rate) * squared + squared * squared / 4), deviations)
    return min(1.0, (rate + squared / 2 + deviation) / (1 + squared))


def _without_bad_blocks(series: FailureSeries, autocorrelation: float) -> tuple[FailureSeries, int]:
    """Return ``series`` without the blocks that have far more bad samples than the median block, and their number."""
    blocks = list(series.blocks(max(_MIN_BLOCK, series.total // _BLOCKS)))
    rate = median(block.bad / block.total for block in blocks) if blocks else 0.0
    normal = [block for block in blocks if is_normal_count(block.bad, block.total, rate, autocorrelation)]
    bad_blocks = len(blocks) - len(normal)
    return (_joined(normal), bad_blocks) if bad_blocks else (series, 0)


def is_normal_count(bad: int, total: int, rate: float, autocorrelation: float) -> bool:
    """Return whether ``bad`` of ``total`` samples are not far more than those expected at ``rate``."""
    clustering = (1 + autocorrelation) / (1 - autocorrelation)  # the variance, compared with independent samples
    expected = max(rate * total, 1.0)
    return bad <= expected + _MAX_DEVIATION * math.sqrt(expected * clustering)


def _joined(blocks: Iterable[FailureSeries]) -> FailureSeries:
    return FailureSeries(bad for block in blocks for bad in block)
