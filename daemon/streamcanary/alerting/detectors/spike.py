"""The ``spike`` detector: a Bernoulli CUSUM that detects a change of the error rate at a limited false alarm rate."""

import math
import re
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

from msgspec import Struct
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from streamcanary.alerting.detectors.base import BaseDetector, DetectorResult, FailureCounts, SampleStream
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire_by_threshold
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.duration import format_duration, parse_duration
from streamcanary.model.config_types.fraction import Fraction, format_fraction

_RATE = re.compile(r"\s*(\d{1,6})\s+per\s+(\S+)\s*")
_UNITS = {"day": 86400.0, "week": 7 * 86400.0, "month": 30 * 86400.0, "year": 365 * 86400.0}
_MIN_INTERVAL = 3600.0  # seconds between two false alerts; more frequent ones would make the alert useless
_MAX_STEP = 500
_MAX_THRESHOLD = 5000


class FalsePages(NamedTuple):
    """The accepted rate of false alerts: ``pages`` in ``per`` seconds."""

    pages: int
    per: float

    @property
    def mean_interval(self) -> float:
        """The mean time between two false alerts, in seconds."""
        return self.per / self.pages

    def __str__(self) -> str:
        return f"{self.pages} per {format_duration(self.per)}"


def _parse_false_pages(value: object) -> FalsePages:
    """Parse a text such as ``1 per 365d``; the time may also be ``day``, ``week``, ``month`` or ``year``."""
    if isinstance(value, FalsePages):
        return value
    written = _RATE.fullmatch(value) if isinstance(value, str) else None
    if written is None:
        raise ValueError("not a rate: write a number and a time, such as 1 per 365d or 2 per month")
    pages, unit = int(written.group(1)), written.group(2)
    try:
        per = _UNITS[unit] if unit in _UNITS else parse_duration(unit)
    except ValueError:
        raise ValueError(
            f"{unit!r} is not a duration: write one such as 365d, 12h, or day, week, month (30d), year (365d)"
        ) from None
    if pages < 1:
        raise ValueError("must be at least 1 false page: for fewer write a longer time, such as 1 per 3650d")
    if per / pages < _MIN_INTERVAL:
        raise ValueError("more than one false page per hour: write fewer, such as 1 per 30d")
    return FalsePages(pages, per)


FalsePagesText = Annotated[
    FalsePages,
    PlainValidator(_parse_false_pages),
    PlainSerializer(str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\s*\d{1,6}\s+per\s+\S+\s*$", "examples": ["1 per 365d", "2 per month"]}
    ),
]
"""A pydantic field with :class:`FalsePages`, written ``1 per 365d``."""


class SpikeState(Struct, frozen=True, kw_only=True, tag_field="type", tag="spike", omit_defaults=True):
    """The CUSUM ``sum`` and the ``threshold`` that it is compared with.

    ``bad`` and ``total`` count samples since the sum last left zero, the first of them at ``since`` (seconds since the
    epoch). At a sum of zero the state stays the same value and is not written again.
    """

    sum: int = 0
    threshold: int = 0
    bad: int = 0
    total: int = 0
    since: float = 0.0


class Cusum(NamedTuple):
    """The CUSUM of a stream: a bad sample adds ``step``, a good one subtracts 1; it fires at ``threshold``."""

    step: int
    threshold: int

    @property
    def resolve_condition(self) -> str:
        """What resolves the alert, as text."""
        return f"{self.threshold} good runs, and {self.step} more for each bad one between them"

    def feed(self, state: object, *, bad: bool, at: float, firing: bool) -> DetectorResult[SpikeState]:
        """Return the result after one more sample at ``at`` (seconds since the epoch), starting from ``state``.

        If the threshold has changed (another rule configuration or interval), the sum is scaled to the new one. With
        ``None``, or the state of another detector, the sum starts at zero; if the alert fires, at the threshold, as the
        severity is unknown.
        """
        state = self._rescaled(state, firing=firing)
        total = state.total + 1
        count = state.bad + bad
        since = min(state.since, at) if state.total else at
        if bad:
            new_sum = min(state.sum + self.step, self.threshold)
            firing = firing or new_sum == self.threshold
        else:
            new_sum = max(state.sum - 1, 0)
            firing = firing and new_sum > 0
        if new_sum == 0:
            return DetectorResult(SpikeState(), firing, FailureCounts(count, total, since))
        state = SpikeState(sum=new_sum, threshold=self.threshold, bad=count, total=total, since=since)
        return DetectorResult(state, firing, FailureCounts(count, total, since))

    def _rescaled(self, state: object, *, firing: bool) -> SpikeState:
        if not isinstance(state, SpikeState):
            return SpikeState(sum=self.threshold if firing else 0)
        if state.sum == 0 or state.threshold == self.threshold:
            return state
        scaled = math.ceil(state.sum * self.threshold / max(state.threshold, 1))
        return SpikeState(
            sum=min(scaled, self.threshold if firing else self.threshold - 1),
            threshold=self.threshold,
            bad=state.bad,
            total=state.total,
            since=state.since,
        )


class Spike(BaseDetector):
    """Fires when the samples indicate that the error rate is ``spike`` rather than ``normal``.

    It is the Bernoulli CUSUM (Page 1954; Reynolds and Stoumbos 1999). A bad sample adds the log-likelihood ratio
    ln(spike / normal), a good sample subtracts ln((1 - normal) / (1 - spike)), and the sum never falls below zero. The
    alert fires when the sum reaches a threshold, where it is capped, and resolves on a good sample at zero: a long
    outage resolves as fast as a short one, and a steady partial outage fires once. No other detector with the same rate
    of false alerts detects such a change sooner.

    The threshold is computed from ``false_pages`` and the interval of the canary: it is the lowest at which independent
    errors at the rate ``normal`` fire no more often than ``false_pages``. Both steps are in units of the good one; the
    bad one is rounded to an integer, so that the sum is an integer and the rate of false alerts is exact (see
    :mod:`streamcanary.alerting.detectors.cusum_run_length`).
    """

    type: Literal["spike"]
    normal: Fraction = 0.02
    spike: Fraction = 0.3
    false_pages: FalsePagesText = FalsePages(1, 365 * 86400.0)

    @model_validator(mode="after")
    def _check_distinguishable(self) -> "Spike":
        normal, spike = format_fraction(self.normal), format_fraction(self.spike)
        problem = None
        if self.spike <= self.normal:
            problem = f"{spike} is not more than normal ({normal}); write a higher rate"
        elif self.spike == 1:
            problem = "100% is too high: a single good run would rule it out; write 90%, or less"
        elif not self.normal < 1 / (self.step + 1) < self.spike or self.step > _MAX_STEP:
            problem = f"{spike} is too close to normal ({normal}) to be distinguished; write a higher rate"
        if problem:
            raise_config_errors(type(self).__name__, [ConfigIssue(("spike",), problem, conflicts_with=("normal",))])
        return self

    def config_error(self, stream: SampleStream) -> ConfigIssue | None:
        """Return an error if no threshold satisfies ``false_pages``."""
        try:
            self.for_stream(stream)
        except ValueError as error:
            return ConfigIssue(
                ("false_pages",), f"{error} ({stream.subject} runs every {format_duration(stream.interval)})"
            )
        return None

    @property
    def step(self) -> int:
        """The number of good samples that cancel out a bad one."""
        up = math.log(self.spike / self.normal)
        down = math.log((1 - self.normal) / (1 - self.spike))
        return max(1, round(up / down))

    def for_stream(self, stream: SampleStream) -> Cusum:
        """Return the CUSUM with the threshold for the interval of ``stream`` and its share of ``false_pages``.

        Raises:
            ValueError: if no threshold satisfies ``false_pages``; the message says what to change.
        """
        mean_interval = self.false_pages.mean_interval / stream.share
        return Cusum(self.step, _threshold(self.step, self.normal, mean_interval / stream.interval))


@lru_cache(maxsize=1024)
def _threshold(step: int, normal: float, runs: float) -> int:
    """Return the lowest threshold that is reached after at least ``runs`` runs on average."""
    for threshold, mean in enumerate(runs_to_fire_by_threshold(step, normal), 1):
        if mean >= runs:
            return threshold
        if threshold == _MAX_THRESHOLD:
            break
    raise ValueError("normal and spike are too close for so few false pages: raise spike, or allow more")
