"""The measures of rules, and the limits that they are compared with."""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from streamcanary.model.config_types.duration import format_duration, parse_positive_duration
from streamcanary.model.config_types.fraction import format_fraction, parse_fraction

MAX_SPEED: Final = 10_000.0
"""Tokens a second that no answer reaches: a higher limit would make every run bad."""


class Measure(StrEnum):
    """The property of a run that a rule evaluates. The table is in ``engine/evaluation/samples.py``."""

    ERRORS = "errors"
    FIRST_ATTEMPTS = "first_attempts"
    SLOW = "slow"
    FIRST_TOKEN = "first_token"  # noqa: S105 - of an answer, not a secret
    MAX_GAP = "max_gap"
    DURATION = "duration"
    TOKENS_PER_SECOND = "tokens_per_second"
    RATELIMIT_HEADROOM = "ratelimit_headroom"
    CERTIFICATE_EXPIRY = "certificate_expiry"
    MODEL_CHANGES = "model_changes"

    @property
    def is_timed(self) -> bool:
        """Whether the measure is a time, and a run is bad if it is over the limit."""
        return self in (Measure.FIRST_TOKEN, Measure.MAX_GAP, Measure.DURATION)

    @property
    def can_shift(self) -> bool:
        """Whether the measure has usual values, so that a change can be recognised."""
        return self.is_timed or self is Measure.TOKENS_PER_SECOND

    @property
    def limit_type(self) -> "LimitType | None":
        """The type of the limit that the measure needs; ``None`` if it has none."""
        if self.is_timed:
            return _TIME
        return _LOWER_LIMITS.get(self)

    @property
    def counts_failures(self) -> bool:
        """Whether bad runs of this measure are failures, which also occur by chance, so that error rates apply."""
        return self not in (Measure.MODEL_CHANGES, Measure.CERTIFICATE_EXPIRY)


class LimitType(NamedTuple):
    """How a limit is written: ``parse`` raises ``ValueError`` for one that is invalid."""

    parse: Callable[[object], float]
    format: Callable[[float], str]
    example: str


def parse_speed(value: object) -> float:
    """Return a number of tokens a second, over 0 and below :data:`MAX_SPEED`.

    Raises:
        ValueError: if it is none.
    """
    try:
        speed = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        speed = math.nan
    if not math.isfinite(speed):
        raise ValueError("not a number of tokens a second: write one such as 20")
    if not 0 < speed < MAX_SPEED:
        raise ValueError(f"must be more than 0 and less than {MAX_SPEED:.0f} tokens a second")
    return speed


def format_speed(speed: float) -> str:
    """Return a speed as text: ``12.3 tokens/s``."""
    return f"{speed:.3g} tokens/s"


_TIME: Final = LimitType(parse_positive_duration, format_duration, "2s")
_REMAINING_TIME: Final = LimitType(parse_positive_duration, format_duration, "14d")
_SPEED: Final = LimitType(parse_speed, format_speed, "20")
_HEADROOM: Final = LimitType(parse_fraction, format_fraction, "10%")
_LOWER_LIMITS: Final[dict[Measure, LimitType]] = {
    Measure.TOKENS_PER_SECOND: _SPEED,
    Measure.RATELIMIT_HEADROOM: _HEADROOM,
    Measure.CERTIFICATE_EXPIRY: _REMAINING_TIME,
}
"""The types of the limits below which a run is bad."""
