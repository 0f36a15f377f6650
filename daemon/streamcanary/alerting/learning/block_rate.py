"""Estimates the base rate of a series of samples of which only the numbers in blocks (hours, quarters) are known.

This is for fleets whose recorded runs reach back some hours only. All functions are pure. As for single samples
(:mod:`streamcanary.alerting.learning.base_rate`), incidents are left out, and the result has an upper bound:

1. Blocks that have far more bad samples than the median block are left out (the filter of Hampel). A shorter incident
   hides in its block, and raises the rate by no more than the deviation that a block may have.
2. The autocorrelation is the bound of that of each canary, also where a rule pools the samples of several: in between
   each other, their bursts last longer, and the variance of counts is that of one. It follows from the bad samples
   that follow a bad one, if the blocks have them, and from the variance of the counts of small blocks. In large blocks,
   the variance is that of the rate over the day.
3. Canaries that fail together show only in the latest single samples.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

from streamcanary.alerting.learning.base_rate import (
    MIN_SAMPLES,
    CusumSteps,
    autocorrelation_of_dispersion,
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


class Clustering(NamedTuple):
    """How the bad samples of each of ``canaries`` cluster outside incidents.

    ``repeats`` of the ``bad`` samples directly follow a bad one of their canary, or ``None`` if that is not known, and
    ``chance`` of them if samples were independent. ``blocks`` are the small ones, with ``samples`` in all, of which
    ``bad_in_blocks`` are bad: ``squares`` and ``fourths`` are the sums of powers of the deviations of their numbers of
    bad samples, relative to the standard deviation of independent ones.
    """

    canaries: int = 0
    bad: int = 0
    repeats: int | None = 0
    chance: float = 0.0
    blocks: int = 0
    samples: int = 0
    bad_in_blocks: int = 0
    squares: float = 0.0
    fourths: float = 0.0

    def add(self, other: "Clustering") -> "Clustering":
        """Return how the samples of the canaries of both cluster."""
        repeats = None if self.repeats is None or other.repeats is None else self.repeats + other.repeats
        return Clustering(
            canaries=self.canaries + other.canaries,
            bad=self.bad + other.bad,
            repeats=repeats,
            chance=self.chance + other.chance,
            blocks=self.blocks + other.blocks,
            samples=self.samples + other.samples,
            bad_in_blocks=self.bad_in_blocks + other.bad_in_blocks,
            squares=self.squares + other.squares,
            fourths=self.fourths + other.fourths,
        )

    def autocorrelation(self, highest: float) -> float:
        """Return the bound of the autocorrelation of the samples of a canary, from 0 to ``highest``."""
        of_neighbours = None if self.repeats is None else 0.0
        if self.bad and self.repeats is not None:
            of_neighbours = max(0.0, autocorrelation_of_repeats(self.chance / self.bad, self.repeats, self.bad))
        of_counts = 0.0
        if self.blocks >= _MIN_BLOCKS and self.bad_in_blocks >= _MIN_BAD and self.squares > 0:
            dispersion = self.squares / self.blocks
            kurtosis = self.fourths / self.blocks / dispersion**2
            size = self.samples / self.blocks
            of_counts = autocorrelation_of_dispersion(dispersion, kurtosis, self.blocks, of_neighbours, size)
        return min(max(PRIOR_AUTOCORRELATION, of_neighbours or 0.0, of_counts), highest)


def clustering_of(
    blocks: Iterable[Block],
    highest: float,
    *,
    by_season: bool = False,
    first_autocorrelation: float = PRIOR_AUTOCORRELATION,
) -> Clustering:
    """Return how the bad samples of one canary cluster; ``highest`` is the highest autocorrelation that is learned.

    ``by_season`` is as for :func:`estimate_block_rate`, and ``first_autocorrelation`` as for
    :func:`~streamcanary.alerting.learning.base_rate.estimate_base_rate`.
    """
    seasons = list(_by_season(blocks, by_season=by_season).values())
    found, length = _rounds(seasons, highest, first_autocorrelation)
    is_bursty = found.autocorrelation(highest) > PRIOR_AUTOCORRELATION
    if is_bursty and first_autocorrelation > PRIOR_AUTOCORRELATION:  # as for single samples
        other, other_length = _rounds(seasons, highest, PRIOR_AUTOCORRELATION)
        found = other if other_length < length else found
    return found


def _rounds(
    seasons: Sequence[Sequence[Block]], highest: float, first_autocorrelation: float
) -> tuple[Clustering, float]:
    """Return how samples cluster outside incidents, and the length (nats) of the description of all with it."""
    found, autocorrelation = Clustering(), first_autocorrelation
    groups: list[list[Block]] = []
    for _ in range(_MAX_ROUNDS):
        before = found
        groups = [_without_incidents(some, autocorrelation) for some in seasons]
        found = _clustering(groups)
        autocorrelation = found.autocorrelation(highest)
        if found == before:
            break
    return found, sum(_description_length(some, normal) for some, normal in zip(seasons, groups, strict=True))


def _description_length(blocks: Sequence[Block], normal: Sequence[Block]) -> float:
    """Return the length (nats) of a description of ``blocks``, of which all but the ``normal`` ones have incidents.

    It has the numbers of bad samples of both, and says which blocks have incidents.
    """
    is_normal = set(normal)
    incidents = [block for block in blocks if block not in is_normal]
    return _counts_length(normal) + _counts_length(incidents) + len(incidents) * math.log(len(blocks))


def _counts_length(blocks: Sequence[Block]) -> float:
    """Return the length (nats) of a description of the bad samples of ``blocks``: normal, with a common dispersion."""
    bad, total = _sum(blocks)
    rate = (bad + 0.5) / (total + 1)
    variances = [rate * (1 - rate) * block.total for block in blocks]
    squares = sum((block.bad - rate * block.total) ** 2 / each for block, each in zip(blocks, variances, strict=True))
    dispersion = max(1.0, squares / max(1, len(blocks)))
    return (sum(math.log(dispersion * each) for each in variances) + squares / dispersion) / 2


def _clustering(groups: Iterable[Sequence[Block]]) -> Clustering:
    found = Clustering(canaries=1)
    for blocks in groups:
        bad, total = _sum(blocks)
        rate = bad / total if total else 0.0
        repeats = [block.repeats for block in blocks if block.repeats is not None]
        known = sum(repeats) if len(repeats) == len(blocks) else None
        small = [block for block in blocks if block.total <= MAX_SMALL_BLOCK] if 0 < rate < 1 else []
        squares = [(block.bad - rate * block.total) ** 2 / (rate * (1 - rate) * block.total) for block in small]
        bad_in_blocks, samples = _sum(small)
        fourths = sum(each * each for each in squares)
        found = found.add(
            Clustering(0, bad, known, bad * rate, len(small), samples, bad_in_blocks, sum(squares), fourths)
        )
    return found


def estimate_block_rate(
    blocks: Iterable[Block],
    clustering: Clustering,
    latest: FailureSeries,
    cusum: CusumSteps,
    max_rate: float,
    max_autocorrelation: float,
    *,
    by_season: bool = False,
) -> LearnedRate | None:
    """Return the base rate in ``blocks``; ``None`` if there are too few samples outside incidents.

    With ``by_season``, blocks are compared with those of the same quarter of the day, and the rate is that of the
    quarter with the highest: false pages come from the busy hours. ``clustering`` is that of all canaries, and
    ``latest`` are the latest samples, one by one, which may be few. ``cusum`` is as for
    :func:`~streamcanary.alerting.learning.base_rate.estimate_base_rate`.
    """
    seasons = list(_by_season(blocks, by_season=by_season).values())
    autocorrelation = clustering.autocorrelation(max_autocorrelation)
    normal = [_without_incidents(some, autocorrelation) for some in seasons]
    if clustering.canaries > 1 or clustering.repeats is None:
        bad, total = _sum(block for some in normal for block in some)
        rate = min(round_up(bad / total), max_rate) if total else max_rate
        recent, _ = latest.without_incidents(*cusum(rate, autocorrelation))
        if 2 * recent.total > latest.total:
            autocorrelation = max(autocorrelation, estimate_autocorrelation(recent, max_autocorrelation))
            normal = [_without_incidents(some, autocorrelation) for some in seasons]
    sums = [_sum(some) for some in normal]
    known = [(bad, total) for bad, total in sums if total >= MIN_SAMPLES]
    if not known:
        return None
    bad, total = max(known, key=lambda each: each[0] / each[1])
    return LearnedRate(
        bad=bad,
        total=total,
        in_incidents=sum(_sum(some)[1] for some in seasons) - sum(total for _, total in sums),
        upper_bound=upper_bound(bad, total, autocorrelation),
        autocorrelation=round(autocorrelation, 3),
    )


def _by_season(blocks: Iterable[Block], *, by_season: bool) -> Mapping[int, list[Block]]:
    """Return the blocks that are compared with each other, by quarter of the day, or all by 0; none without samples."""
    seasons: dict[int, list[Block]] = {}
    for block in blocks:
        if block.total:
            seasons.setdefault(season_of(block.started) if by_season else 0, []).append(block)
    return seasons


def _without_incidents(blocks: Sequence[Block], autocorrelation: float) -> list[Block]:
    rate = median(block.bad / block.total for block in blocks)
    return [block for block in blocks if is_normal_count(block.bad, block.total, rate, autocorrelation)]


def _sum(blocks: Iterable[Block]) -> tuple[int, int]:
    bad, total = 0, 0
    for block in blocks:
        bad += block.bad
        total += block.total
    return bad, total
