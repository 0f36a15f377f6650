"""What was learned about a binding: a row of the store."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

MIN_LEARNED_RATE: Final = 0.001
"""The lowest base rate that a detector uses: a single bad sample must not be evidence of an incident."""

PRIOR_AUTOCORRELATION: Final = 0.0
"""The autocorrelation of failures until it is learned: they are independent.

The margin that is usual in ``normal`` covers short bursts: with the threshold for independent failures at 2 %, one page
a year, failures at 0.5 % with an autocorrelation of 0.1 still page only once in 326 days. To assume 0.1 at 2 % without
having seen a burst would detect every outage later, a full one at the seventh failure instead of the fifth.
"""

DAY: Final = 86400.0
"""Seconds of a day."""

SEASONS: Final = 4
"""The parts of a day (UTC) that can have limits of their own."""

QUANTILES: Final = 20
"""The number of quantiles by which a distribution is stored."""


def round_up(rate: float) -> float:
    """Return the next rate with two digits: 0.0123 becomes 0.013. A relearned rate then seldom changes a threshold."""
    if rate <= 0:
        return 0.0
    digits, exponent = f"{rate:.1e}".split("e")
    rounded = float(f"{digits}e{exponent}")
    return rounded if rounded >= rate * (1 - 1e-9) else float(f"{float(digits) + 0.1:.1f}e{exponent}")


class LearnedRate(Struct, frozen=True, kw_only=True, tag_field="type", tag="rate", omit_defaults=True):
    """The base rate of a binding: ``bad`` of ``total`` samples outside incidents; ``in_incidents`` more were in some.

    ``upper_bound`` is the upper confidence bound of the rate (one-sided, 95 %), ``autocorrelation`` that of the lag-1
    autocorrelation (the same, 0 to less than 1). ``learned_at`` is when, in seconds since the epoch.
    """

    bad: int
    total: int
    in_incidents: int = 0
    upper_bound: float
    autocorrelation: float
    learned_at: float = 0.0

    @property
    def rate(self) -> float:
        """The part of the samples that are bad."""
        return self.bad / self.total if self.total else 0.0

    @property
    def usable_rate(self) -> float:
        """The base rate for a detector: the upper bound, rounded up to two digits, and 0.1 % at least."""
        return max(MIN_LEARNED_RATE, round_up(self.upper_bound))

    @property
    def usable_autocorrelation(self) -> float:
        """The autocorrelation for a detector, with two digits."""
        return round(self.autocorrelation, 2)


class LearnedValues(Struct, frozen=True, kw_only=True, tag_field="type", tag="values", omit_defaults=True):
    """The usual values of a measure of a binding, such that higher is worse: a speed is in seconds for each token.

    ``limits`` has for each canary (by identity) the value below which 90 % or more usually are, or one for each quarter
    of the day (UTC). ``above`` is the part of the samples above the limit. ``quantiles`` are those of the values
    relative to their limits, at 2.5 %, 7.5 % and so on. A limit is ``smallest_change`` times the median at least; 0 if
    that was not recorded. All were learned from ``days`` days at ``learned_at``
    (seconds since the epoch).
    """

    limits: dict[str, tuple[float, ...]]
    days: float
    above: LearnedRate = LearnedRate(bad=0, total=0, upper_bound=1.0, autocorrelation=0.0)
    quantiles: tuple[float, ...] = ()
    smallest_change: float = 0.0
    learned_at: float = 0.0

    def limit(self, canary: str, at: float) -> float | None:
        """Return the limit of ``canary`` (its identity) at a time in seconds since the epoch; ``None`` if it has none.

        A limit of zero is none: no value is worse than zero by a factor. A stored row may be damaged: limits of an
        impossible number are none.
        """
        limits = self.limits.get(canary, ())
        if len(limits) == SEASONS:
            return limits[season_of(at)] or None
        return (limits[0] or None) if len(limits) == 1 else None


def season_of(at: float) -> int:
    """Return the quarter of the day (UTC), from 0 to 3, of a time in seconds since the epoch."""
    return int(at % DAY // (DAY / SEASONS))


def fraction_above(quantiles: Sequence[float], factor: float) -> float:
    """Return the part of the values that is above the limit when all are ``factor`` times as high; 0 without values."""
    return 1 - bisect_right(quantiles, 1 / factor) / len(quantiles) if quantiles else 0.0


class RequestSince(Struct, frozen=True, kw_only=True, tag_field="type", tag="request"):
    """Since when (seconds since the epoch) a canary sends the request with this ``digest``; 0 if always.

    What was recorded before is not normal for this request.
    """

    digest: str
    since: float = 0.0


LearnedBaseline = LearnedRate | LearnedValues
"""What was learned about a binding."""
