"""What was learned about a binding: a row of the store."""

from typing import Final

from msgspec import Struct

MIN_LEARNED_RATE: Final = 0.001
"""The lowest base rate that a detector uses: a single bad sample must not be evidence of an incident."""

SEASONS: Final = 4
"""The parts of a day (UTC) that can have limits of their own."""

QUANTILES: Final = 20
"""The number of quantiles by which a distribution is stored."""


class LearnedRate(Struct, frozen=True, kw_only=True, tag_field="type", tag="rate", omit_defaults=True):
    """The base rate of a binding: ``bad`` of ``total`` samples outside incidents; ``in_incidents`` more were in some.

    ``upper_bound`` is the upper confidence bound of the rate (one-sided, 95 %), ``autocorrelation`` that of neighbours
    (0 to 0.5). ``learned_at`` is when, in seconds since the epoch.
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


class LearnedValues(Struct, frozen=True, kw_only=True, tag_field="type", tag="values", omit_defaults=True):
    """The usual values of a measure of a binding, such that higher is worse.

    ``limits`` has the value below which 90 % usually are, or one for each quarter of the day (UTC); ``typical`` is the
    median. ``quantiles`` are those at 2.5 %, 7.5 % and so on, relative to the limit. ``above`` is the part of the
    samples above the limit. All were learned from ``days`` days.
    """

    limits: tuple[float, ...]
    typical: float
    quantiles: tuple[float, ...]
    above: LearnedRate
    days: float


LearnedBaseline = LearnedRate | LearnedValues
"""What was learned about a binding."""
