"""Estimates the base rate of a series of samples of which only the numbers in blocks (hours, quarters) are known.

This is for fleets whose recorded runs reach back some hours only. All functions are pure. As for single samples
(:mod:`streamcanary.alerting.learning.base_rate`), incidents are left out, and the result has an upper bound:

1. Blocks that have far more bad samples than the median block are left out (the filter of Hampel). A shorter incident
   hides in its block, and raises the rate by no more than the deviation that a block may have.
2. The autocorrelation is the highest of up to three estimates: by bad samples that follow a bad one, if the blocks have
   them; by the variance of the counts of small blocks; and by the latest single samples. In large blocks, the variance
   is that of the rate over the day.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final, NamedTuple

from streamcanary.alerting.learning.base_rate import (
    MIN_SAMPLES,
    CusumSteps,
    autocorrelation_of_repeats,
    estimate_autocorrelation,
    is_normal_count,
    upper_bound,
)
from streamcanary.alerting.learning.baseline import PRIOR_AUTOCORRELATION, LearnedRate, round_up, season_of
from streamcanary.alerting.learning.failure_series import FailureSeries
from streamcanary.alerting.learning.rollup_samples import Block

MAX_SMALL_BLOCK: Final = 800
"""Samples of a block whose counts vary because samples cluster; those of a larger one vary with the time of day."""

_MIN_BLOCKS = 20  # the variance of fewer is chance
_MIN_BAD = 20  # samples
_MAX_ROUNDS = 8


class _Group(NamedTuple):
    """Blocks that are compared with each other; ``normal`` are those outside incidents."""

    blocks: Sequence[Block]
    normal: Sequence[Block]

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of bad samples and of all in the normal blocks."""
        return _sum(self.normal)

    @property
    def rate(self) -> float:
        """The part of the samples in the normal blocks that are bad."""
        bad, total = self.counts
        return bad / total if total else 0.0


def estimate_block_rate(
    blocks: Iterable[Block],
    latest: FailureSeries,
    cusum: CusumSteps,
    max_rate: float,
    max_autocorrelation: float,
    *,
    by_season: bool = False,
) -> LearnedRate | None:
    """Return the base rate in ``blocks``; ``None`` if there are too few samples outside incidents.

    With ``by_season``, blocks are compared with those of the same quarter of the day, and the rate is that of the
    quarter with the highest: false pages come from the busy hours. ``latest`` are the latest samples, one by one, which
    may be few. ``cusum`` is as for :func:`~streamcanary.alerting.learning.base_rate.estimate_base_rate`.
    """
    seasons: dict[int, list[Block]] = {}
    for block in blocks:
        if block.total:
            seasons.setdefault(season_of(block.started) if by_season else 0, []).append(block)
    autocorrelation = PRIOR_AUTOCORRELATION
    groups = [_Group(some, some) for some in seasons.values()]
    for _ in range(_MAX_ROUNDS):
        before = groups
        groups = [_Group(group.blocks, _without_incidents(group.blocks, autocorrelation)) for group in groups]
        autocorrelation = _autocorrelation(groups, latest, cusum, max_rate, max_autocorrelation)
        if groups == before:
            break
    known = [group for group in groups if group.counts[1] >= MIN_SAMPLES]
    if not known:
        return None
    bad, total = max(known, key=lambda group: group.rate).counts
    return LearnedRate(
        bad=bad,
        total=total,
        in_incidents=sum(_sum(group.blocks)[1] - group.counts[1] for group in groups),
        upper_bound=upper_bound(bad, total, autocorrelation),
        autocorrelation=round(autocorrelation, 3),
    )


def _without_incidents(blocks: Sequence[Block], autocorrelation: float) -> list[Block]:
    rate = median(block.bad / block.total for block in blocks)
    return [block for block in blocks if is_normal_count(block.bad, block.total, rate, autocorrelation)]


def _autocorrelation(
    groups: Sequence[_Group], latest: FailureSeries, cusum: CusumSteps, max_rate: float, highest: float
) -> float:
    normal = [block for group in groups for block in group.normal]
    bad, total = _sum(normal)
    if not 0 < bad < total:
        return PRIOR_AUTOCORRELATION
    rate = bad / total
    recent = latest.without_incidents(*cusum(min(round_up(rate), max_rate), PRIOR_AUTOCORRELATION))
    repeats = [block.repeats for block in normal if block.repeats is not None]
    has_repeats = len(repeats) == len(normal)
    estimates = [PRIOR_AUTOCORRELATION, _clustering(groups, deviations=-1 if has_repeats else 1)]
    if 2 * recent.total > latest.total:
        estimates.append(estimate_autocorrelation(recent, highest))
    if has_repeats:
        estimates.append(autocorrelation_of_repeats(rate, sum(repeats), bad))
    return min(max(estimates), highest)


def _clustering(groups: Sequence[_Group], deviations: int) -> float:
    """Return the autocorrelation of the Markov chain whose counts vary as those of the small blocks do.

    Standard ``deviations`` are added: where it is the only estimate, too low a value means more false pages than
    promised.
    """
    small = [
        (block, group.rate)
        for group in groups
        for block in group.normal
        if block.total <= MAX_SMALL_BLOCK and 0 < group.rate < 1
    ]
    if len(small) < _MIN_BLOCKS or sum(block.bad for block, _ in small) < _MIN_BAD:
        return 0.0
    squares = ((block.bad - rate * block.total) ** 2 / (rate * (1 - rate) * block.total) for block, rate in small)
    dispersion = sum(squares) / len(small)
    deviation = 2 * dispersion / (dispersion + 1) ** 2 * math.sqrt(2 / len(small))
    return (dispersion - 1) / (dispersion + 1) + deviations * deviation


def _sum(blocks: Iterable[Block]) -> tuple[int, int]:
    bad, total = 0, 0
    for block in blocks:
        bad += block.bad
        total += block.total
    return bad, total
