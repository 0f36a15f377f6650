"""The ``shift`` detector: fires when a measure is worse than its own recent values by a factor."""

import math
import re
from typing import Annotated, Final, Literal

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from streamcanary.alerting.detectors.base import BaseDetector, SampleStream
from streamcanary.alerting.detectors.cusum import Cusum, cusum_for, highest_possible
from streamcanary.alerting.detectors.false_pages import FalsePages, FalsePagesText
from streamcanary.alerting.learning.baseline import fraction_above
from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.fraction import format_fraction

MIN_FACTOR: Final = 1.1
"""The lowest factor: smaller changes disappear in the resolution of the measures."""

MAX_FACTOR: Final = 100.0
"""The highest factor: a longer time is a failure, not a slow answer."""

NORMAL_PART: Final = 0.1
"""The part of the samples that is above the limit while nothing has changed; fewer are not assumed."""

MAX_NORMAL_PART: Final = 0.25
"""The highest such part that is learned."""

_MAX_WORSE_PART = 0.9  # at 100 % a single sample below the limit would rule a change out
_TYPICAL_AUTOCORRELATION = 0.1
_TYPICAL_WORSE_PART = 0.6  # before anything is known: that of times that vary by a third, at 2x
_FACTOR = re.compile(r"\s*(\d{1,4}(?:\.\d{1,4})?)\s*x\s*")


def _parse_factor(value: object) -> float:
    """Parse a factor such as ``2x``."""
    if isinstance(value, float):
        factor = value
    else:
        written = _FACTOR.fullmatch(value) if isinstance(value, str) else None
        if written is None:
            raise ValueError("not a factor: write one such as 2x or 1.5x")
        factor = float(written.group(1))
    if not MIN_FACTOR <= factor <= MAX_FACTOR:
        raise ValueError(f"must be from {format_factor(MIN_FACTOR)} to {format_factor(MAX_FACTOR)}")
    return factor


def format_factor(factor: float) -> str:
    """Return a factor as text: ``1.5x``."""
    return f"{factor:g}x"


FactorText = Annotated[
    float,
    PlainValidator(_parse_factor),
    PlainSerializer(format_factor),
    WithJsonSchema({"type": "string", "pattern": r"^\s*\d{1,4}(\.\d{1,4})?\s*x\s*$", "examples": ["2x", "1.5x"]}),
]
"""A pydantic field with a factor, written ``2x``."""


class Shift(BaseDetector):
    """Fires when the samples indicate that all values are ``worse`` by a factor than they usually are.

    From the recorded runs of a canary it learns a limit, below which 90 % or more of the values usually are, which part
    is above it while nothing has changed, and which part would be if all values were worse by the factor. A sample
    above the limit is bad, and a Bernoulli CUSUM between these two parts decides as that of ``spike`` does: with the
    same promise of ``false_pages``, and resolved by evidence that the values are as before. One slow answer is never
    enough. An outage, or a slow day, does not change what was learned, and what was learned survives a restart.

    It needs a day of recorded runs, at least 200; before that it neither fires nor resolves. For ``tokens_per_second``
    worse is slower.
    """

    type: Literal["shift"]
    worse: FactorText = 2.0
    false_pages: FalsePagesText = FalsePages(1, 365 * 86400.0)

    @property
    def learns(self) -> bool:
        """It depends on what was learned."""
        return True

    def config_error(self, stream: SampleStream) -> ConfigIssue | None:
        """Return an error if no threshold satisfies ``false_pages``, or a single slow answer would fire."""
        runs = f"{stream.subject} runs every {format_duration(stream.interval)}"
        try:
            cusum = self.for_stream(stream._replace(base_rate=None, autocorrelation=None, quantiles=None))
        except ValueError as error:
            return ConfigIssue(("false_pages",), f"{error} ({runs})")
        if cusum.threshold <= cusum.step:
            return ConfigIssue(
                ("false_pages",), f"a single slow run would fire ({runs}): write fewer, such as 1 per 30d"
            )
        return None

    def parts(self, stream: SampleStream) -> tuple[float, float]:
        """Return the parts of the samples above the limit: normally, and if all values are ``worse`` by the factor.

        Where the values vary so much that these are too close, the second part is that of a larger change.
        """
        normal = min(max(NORMAL_PART, stream.base_rate or 0.0), MAX_NORMAL_PART)
        if stream.quantiles is None:
            return normal, _TYPICAL_WORSE_PART
        worse = fraction_above(stream.quantiles, self.worse)
        return normal, min(max(worse, min_worse_part(normal)), _MAX_WORSE_PART)

    def autocorrelation_of(self, stream: SampleStream) -> float:
        """Return the autocorrelation of answers above the limit: as learned, or a default.

        If no threshold satisfies ``false_pages`` with the learned one, it is the highest with which one does.
        """
        if stream.autocorrelation is None:
            return _TYPICAL_AUTOCORRELATION
        return highest_possible(stream.autocorrelation, lambda each: self._cusum(stream, each))

    def smallest_factor(self, stream: SampleStream) -> float:
        """Return the smallest factor, from ``worse`` on, that the values of ``stream`` allow to recognise."""
        normal, _ = self.parts(stream)
        factor = self.worse
        while factor < MAX_FACTOR and fraction_above(stream.quantiles or (), factor) < min_worse_part(normal):
            factor *= 1.1
        return min(factor, MAX_FACTOR)

    def config_warning(self, stream: SampleStream) -> str | None:
        """Return a warning if the learned values vary too much to recognise the factor."""
        found = self.too_wide(stream)
        return None if found is None else f"{found[0]}; write worse: {format_factor(found[1])}"

    def too_wide(self, stream: SampleStream) -> tuple[str, float] | None:
        """Return why the factor cannot be recognised in the learned values, and one that can; ``None`` if it can."""
        if stream.quantiles is None or (smallest := self.smallest_factor(stream)) <= self.worse:
            return None
        found = fraction_above(stream.quantiles, self.worse)
        message = (
            f"values vary so much that {format_factor(self.worse)} cannot be recognised: {format_fraction(found)} of "
            f"the answers would be over the limit, and up to {format_fraction(self.parts(stream)[0])} normally are"
        )
        return message, math.ceil(smallest * 10) / 10

    def for_stream(self, stream: SampleStream) -> Cusum:
        """Return the CUSUM for what was learned about ``stream``; for usual values if that is nothing yet.

        Raises:
            ValueError: if no threshold satisfies ``false_pages``; the message says what to change.
        """
        return self._cusum(stream, self.autocorrelation_of(stream))

    def _cusum(self, stream: SampleStream, autocorrelation: float) -> Cusum:
        normal, worse = self.parts(stream)
        false_interval = self.false_pages.mean_interval / stream.share
        return cusum_for(normal, worse, stream.interval, false_interval, autocorrelation)


def min_worse_part(normal: float) -> float:
    """Return the lowest part of samples above the limit that some ten samples can distinguish from ``normal``."""
    return max(2.5 * normal, normal + 0.2)
