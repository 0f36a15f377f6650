"""``spike``: the error rate has gone from one level to another, found as early as the promised silence allows."""

import math
import re
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

from msgspec import Struct
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from streamcanary.alerting.detectors.base import BaseDetector, DetectorResult, FailureCounts
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire_by_threshold
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.duration import format_duration, parse_duration
from streamcanary.model.config_types.fraction import Fraction, format_fraction

_RATE = re.compile(r"\s*(\d{1,6})\s+per\s+(\S+)\s*")
_UNITS = {"day": 86400.0, "week": 7 * 86400.0, "month": 30 * 86400.0, "year": 365 * 86400.0}
_MIN_INTERVAL = 3600.0  # seconds between two false pages; who wants more of them wants no pages
_MAX_STEP = 500
_MAX_THRESHOLD = 5000


class FalsePages(NamedTuple):
    """How often a rule may page for nothing: ``pages`` times in ``per`` seconds."""

    pages: int
    per: float

    @property
    def mean_interval(self) -> float:
        """The mean time from one to the next, in seconds."""
        return self.per / self.pages

    def __str__(self) -> str:
        return f"{self.pages} per {format_duration(self.per)}"


def _parse_false_pages(value: object) -> FalsePages:
    """Return ``"1 per 365d"`` as a value; the time may also be a ``day``, ``week``, ``month`` or ``year``."""
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
            f"{unit!r} is no time: write one such as 365d, 12h, or day, week, month (30d), year (365d)"
        ) from None
    if pages < 1:
        raise ValueError("no detector is never wrong: write at least one, over a long time, such as 1 per 3650d")
    if per / pages < _MIN_INTERVAL:
        raise ValueError("more than one false page per hour: write fewer, such as 1 per 30d")
    return FalsePages(pages, per)


FalsePagesText = Annotated[
    FalsePages,
    PlainValidator(_parse_false_pages),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["1 per 365d", "2 per month"]}),
]
"""A pydantic field with :class:`FalsePages`, written ``1 per 365d``."""


class SpikeState(Struct, frozen=True, kw_only=True, tag_field="type", tag="spike", omit_defaults=True):
    """The sum, and the ``threshold`` that it is held against.

    Since it last left zero, ``bad`` of ``total`` samples were bad, the first seen at ``since`` (seconds since the
    epoch). At rest it is the same value again and costs no write.
    """

    sum: int = 0
    threshold: int = 0
    bad: int = 0
    total: int = 0
    since: float = 0.0


class Cusum(NamedTuple):
    """The sum for one canary: a bad sample adds ``step``, a good one takes 1 away; it fires at ``threshold``."""

    step: int
    threshold: int

    @property
    def resolve_condition(self) -> str:
        """What resolves it, in words."""
        return f"{self.threshold} good runs, and {self.step} more for each bad one between them"

    def feed(self, state: object, *, bad: bool, at: float, firing: bool) -> DetectorResult[SpikeState]:
        """Return the verdict after one more sample, seen ``at`` (seconds since the epoch), on top of ``state``.

        The sum of another threshold (the rule was edited, or the canary's interval) is scaled to this one. Whatever
        is no state of this detector starts it afresh: at zero, or, as nobody knows how bad it is, at the threshold if
        it fires.
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
    """Fires when the samples say that the error rate is ``spike`` rather than ``normal``.

    It is the Bernoulli CUSUM (Page 1954; Reynolds and Stoumbos 1999): a bad sample adds the evidence that it is,
    ln(spike / normal), a good one takes away what it says against it, ln((1 - normal) / (1 - spike)); the sum never
    falls below zero. It fires when the sum reaches a threshold, is capped there, and resolves at zero, by a good
    sample: a long outage resolves as fast as a short one, and a steady partial outage pages once. Of all detectors
    with as few false pages this one is the quickest to see such a change.

    The threshold follows from ``false_pages`` and the interval of the canary: the lowest at which errors at the rate
    ``normal``, independent of each other, page no more often than that. Both steps are in units of the good one, the
    bad one rounded to a whole number of them, so that the sum is an integer and the promise is exact (see
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
            problem = f"{spike} is not more than normal ({normal}): it could not tell the two apart"
        elif self.spike == 1:
            problem = "a spike in which all runs fail is one that a single good run disproves: write 90%, or less"
        elif not self.normal < 1 / (self.step + 1) < self.spike or self.step > _MAX_STEP:
            problem = f"{spike} is too near to normal ({normal}) to be told apart run by run; write a higher one"
        if problem:
            raise_config_errors(type(self).__name__, [ConfigIssue(("spike",), problem, conflicts_with=("normal",))])
        return self

    def config_error(self, canary: Canary) -> ConfigIssue | None:
        """Return what is wrong if ``false_pages`` cannot be promised."""
        try:
            self.for_canary(canary)
        except ValueError as error:
            return ConfigIssue(
                ("false_pages",), f"{error} ({canary.name} runs every {format_duration(canary.interval)})"
            )
        return None

    @property
    def step(self) -> int:
        """How many good samples make up for a bad one."""
        up = math.log(self.spike / self.normal)
        down = math.log((1 - self.normal) / (1 - self.spike))
        return max(1, round(up / down))

    def for_canary(self, canary: Canary) -> Cusum:
        """Return the detector with the threshold that ``canary`` needs.

        Raises:
            ValueError: if ``false_pages`` cannot be promised; says what would be right.
        """
        return self.for_interval(canary.interval)

    def for_interval(self, interval: float) -> Cusum:
        """Return the same for any canary that runs every ``interval`` seconds."""
        return Cusum(self.step, _threshold(self.step, self.normal, self.false_pages.mean_interval / interval))


@lru_cache(maxsize=1024)
def _threshold(step: int, normal: float, runs: float) -> int:
    """Return the lowest threshold that is reached no sooner than after ``runs`` runs on average."""
    for threshold, mean in enumerate(runs_to_fire_by_threshold(step, normal), 1):
        if mean >= runs:
            return threshold
        if threshold == _MAX_THRESHOLD:
            break
    raise ValueError("normal and spike are too near to each other for so few false pages: raise spike, or allow more")
