"""The ``spike`` detector: a Bernoulli CUSUM that detects a change of the error rate at a limited false alarm rate."""

import re
from difflib import get_close_matches
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from streamcanary.alerting.detectors.base import BaseDetector, SampleStream
from streamcanary.alerting.detectors.cusum import Cusum, cusum_for, cusum_step, highest_possible
from streamcanary.alerting.detectors.false_pages import FalsePages, FalsePagesText
from streamcanary.alerting.learning.baseline import MIN_LEARNED_RATE, PRIOR_AUTOCORRELATION
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.fraction import Fraction, format_fraction, parse_fraction

LEARNED: Final = "learned"
"""The value of ``normal`` and ``autocorrelation`` that is estimated from recorded runs."""

DEFAULT_NORMAL: Final = 0.02
"""The base rate that is assumed until it is learned."""

MAX_AUTOCORRELATION: Final = 0.9

_MAX_STEP = 500
_NUMBER = re.compile(r"\s*\d{0,2}\.?\d{1,12}\s*")  # of a variable


def _parse_normal(value: object) -> object:
    if value == LEARNED:
        return value
    if isinstance(value, str) and get_close_matches(value.strip().casefold(), [LEARNED]):
        raise ValueError(f"{value!r} is not a fraction; did you mean {LEARNED}, to estimate it from recorded runs?")
    return parse_fraction(value)


def _parse_autocorrelation(value: object) -> object:
    if value == LEARNED:
        return value
    if type(value) in (int, float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        number = float(value)  # type: ignore[arg-type] # str, int or float
        if 0 <= number <= MAX_AUTOCORRELATION:
            return number
    raise ValueError(
        f"must be a number from 0 (failures are independent) to {MAX_AUTOCORRELATION:g}, or {LEARNED}, to estimate it "
        "from recorded runs"
    )


_Normal = Annotated[
    float | Literal["learned"],
    BeforeValidator(_parse_normal),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "pattern": r"^(learned|\s*(\d{1,9}(\.\d{1,9})?\s*%|\d{0,9}\.?\d{1,12})\s*)$",
            "exclusiveMinimum": 0,
            "maximum": 1,
        }
    ),
]
_Autocorrelation = Annotated[
    float | Literal["learned"],
    BeforeValidator(_parse_autocorrelation),
    WithJsonSchema(
        {"type": ["string", "number"], "pattern": "^learned$", "minimum": 0, "maximum": MAX_AUTOCORRELATION}
    ),
]


class Spike(BaseDetector):
    """Fires when the samples indicate that the error rate is ``spike`` rather than ``normal``.

    It is the Bernoulli CUSUM (Page 1954; Reynolds and Stoumbos 1999). A bad sample adds the log-likelihood ratio
    ln(spike / normal), a good sample subtracts ln((1 - normal) / (1 - spike)), and the sum never falls below zero. The
    alert fires when the sum reaches a threshold. No other detector with the same rate of false alerts detects such a
    change sooner. It resolves on evidence for ``normal``, see :mod:`streamcanary.alerting.detectors.cusum`: a long
    outage resolves as fast as a short one, and a steady error rate of any size seldom fires three times a day.

    The threshold is computed from ``false_pages`` and the interval of the samples: it is the lowest at which errors at
    the rate ``normal`` fire no more often than ``false_pages``. Both steps are in units of the good one; the bad one is
    rounded to an integer, so that the sum is an integer and the rate of false alerts is exact (see
    :mod:`streamcanary.alerting.detectors.cusum_run_length`). Errors that come in bursts need a higher threshold:
    ``autocorrelation`` is how much more probable a failure is after a failure, between 0 and 1. One that was learned is
    that of failures at the learned rate; the threshold is then the higher of that, and of independent errors at a
    written ``normal``.

    With ``normal: learned`` the base rate is that of the stream, at most ``max_normal``.
    """

    type: Literal["spike"]
    normal: _Normal = DEFAULT_NORMAL
    max_normal: Fraction = 0.05
    spike: Fraction = 0.3
    false_pages: FalsePagesText = FalsePages(1, 365 * 86400.0)
    autocorrelation: _Autocorrelation = LEARNED

    @model_validator(mode="after")
    def _check_distinguishable(self) -> "Spike":
        if isinstance(self.normal, float):
            if "max_normal" in self.model_fields_set:
                problem = "is only for normal: learned; remove it, or write normal: learned"
                raise_config_errors(
                    type(self).__name__, [ConfigIssue(("max_normal",), problem, conflicts_with=("normal",))]
                )
            self._check_rates("normal", self.normal)
        else:
            self._check_rates("max_normal", self.max_normal)
            self._check_rates("normal", min(MIN_LEARNED_RATE, self.max_normal))
        return self

    def _check_rates(self, key: str, rate: float) -> None:
        normal, spike = format_fraction(rate), format_fraction(self.spike)
        remedy = "write a higher rate" + (", or a lower max_normal" if key == "max_normal" else "")
        problem = None
        if self.spike <= rate:
            problem = f"{spike} is not more than {key} ({normal}); {remedy}"
        elif self.spike == 1:
            problem = "100% is too high: a single good run would rule it out; write 90%, or less"
        else:
            step = cusum_step(rate, self.spike)
            if not rate < 1 / (step + 1) < self.spike or step > _MAX_STEP:
                problem = f"{spike} is too close to {key} ({normal}) to be distinguished; {remedy}"
        if problem:
            raise_config_errors(type(self).__name__, [ConfigIssue(("spike",), problem, conflicts_with=(key,))])

    @property
    def learns(self) -> bool:
        """Whether ``normal`` or ``autocorrelation`` is learned."""
        return LEARNED in (self.normal, self.autocorrelation)

    @property
    def max_base_rate(self) -> float:
        """The highest base rate that may be learned."""
        return self.max_normal

    @property
    def highest_normal(self) -> float:
        """The base rate as configured, or the highest that may be learned."""
        return self.normal if isinstance(self.normal, float) else self.max_normal

    def normal_of(self, stream: SampleStream) -> float:
        """Return the base rate of ``stream``: as configured, or learned, or :data:`DEFAULT_NORMAL` until it is."""
        if isinstance(self.normal, float):
            return self.normal
        learned = DEFAULT_NORMAL if stream.base_rate is None else max(stream.base_rate, MIN_LEARNED_RATE)
        return min(learned, self.max_normal)

    def autocorrelation_of(self, stream: SampleStream) -> float:
        """Return the autocorrelation of ``stream``: as configured, or learned, or the default until it is.

        If no threshold satisfies ``false_pages`` with the learned one, it is the highest with which one does.
        """
        if isinstance(self.autocorrelation, float):
            return self.autocorrelation
        if stream.autocorrelation is None:
            return PRIOR_AUTOCORRELATION
        normal, bursty_rate = self.normal_of(stream), self._bursty_rate(stream)
        return highest_possible(
            min(stream.autocorrelation, MAX_AUTOCORRELATION),
            lambda each: self.cusum(stream, normal, each, bursty_rate),
        )

    def config_error(self, stream: SampleStream) -> ConfigIssue | None:
        """Return an error if no threshold satisfies ``false_pages``, at ``max_normal`` if the base rate is learned."""
        written = self.autocorrelation if isinstance(self.autocorrelation, float) else PRIOR_AUTOCORRELATION
        try:
            self.cusum(stream, self.highest_normal, written)
        except ValueError as error:
            return ConfigIssue(
                ("false_pages",), f"{error} ({stream.subject} runs every {format_duration(stream.interval)})"
            )
        return None

    def for_stream(self, stream: SampleStream) -> Cusum:
        """Return the CUSUM with the threshold for the interval of ``stream`` and its share of ``false_pages``.

        Raises:
            ValueError: if no threshold satisfies ``false_pages``; the message says what to change.
        """
        normal, autocorrelation = self.normal_of(stream), self.autocorrelation_of(stream)
        return self.cusum(stream, normal, autocorrelation, self._bursty_rate(stream))

    def forecast_rate(self, stream: SampleStream) -> float:
        """Return the error rate at which failures have :meth:`autocorrelation_of`: learned with it, or ``normal``."""
        bursty_rate = self._bursty_rate(stream)
        return self.normal_of(stream) if bursty_rate is None else bursty_rate

    def cusum(
        self, stream: SampleStream, normal: float, autocorrelation: float, bursty_rate: float | None = None
    ) -> Cusum:
        """Return the CUSUM for ``stream`` if these are its rates and autocorrelation. Raises as the former."""
        false_interval = self.false_pages.mean_interval / stream.share
        return cusum_for(normal, self.spike, stream.interval, false_interval, autocorrelation, bursty_rate)

    def _bursty_rate(self, stream: SampleStream) -> float | None:
        """Return the learned rate of failures whose bursts were learned, if ``normal`` is written; else ``None``.

        Bursts were seen at that rate. A written ``normal`` is usually higher, and bursts at that rate would need a
        threshold that no recorded run justifies.
        """
        if stream.base_rate is None or self.normal == LEARNED or self.autocorrelation != LEARNED:
            return None
        rate = min(max(stream.base_rate, MIN_LEARNED_RATE), self.highest_normal)
        return rate if stream.autocorrelation else None
