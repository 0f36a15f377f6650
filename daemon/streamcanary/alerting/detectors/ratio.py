"""The ``ratio`` detector: fires when the fraction of bad samples in a window is too high."""

import math
import re
from typing import Annotated, Literal, NamedTuple

from msgspec import Struct
from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from streamcanary.alerting.detectors.base import (
    BaseDetector,
    DetectorResult,
    FailureCounts,
    Progress,
    SampleStream,
    format_times,
)
from streamcanary.alerting.detectors.ring import Ring
from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.model.config_types.duration import Duration, format_duration, parse_duration
from streamcanary.model.config_types.fraction import Fraction, format_fraction, min_count
from streamcanary.model.schedules.schedule import Pooled

MAX_SAMPLES = 1000
"""The maximum number of samples in a window; the oldest are dropped first."""

_MAX_POOLED_SAMPLES = 200  # samples of pooled canaries in a window, above which it is stored in buckets
_RUNS = re.compile(r"\s*(\d{1,100})\s+runs?\s*")
_UNITLESS = re.compile(r"\s*\d{1,100}(?:\.\d{1,100})?\s*")


class Window(NamedTuple):
    """The length of a window: a time in seconds, or a number of runs. Exactly one of the two is set."""

    seconds: float | None = None
    runs: int | None = None

    def __str__(self) -> str:
        return f"{self.runs} runs" if self.seconds is None else format_duration(self.seconds)


def _parse_window(value: object) -> Window:
    if isinstance(value, Window):
        return value
    if isinstance(value, str) and (written := _RUNS.fullmatch(value)):
        runs = int(written.group(1))
        if not 1 <= runs <= MAX_SAMPLES:
            raise ValueError(f"must be 1 to {MAX_SAMPLES} runs")
        return Window(runs=runs)
    if type(value) in (int, float) or (isinstance(value, str) and _UNITLESS.fullmatch(value)):
        number = f"{value}".strip()[:12]
        raise ValueError(f"unit is missing; write {number} runs or {number}s")
    try:
        seconds = parse_duration(value)
    except ValueError:
        raise ValueError("not a window: write a time such as 5m, or a number of runs such as 20 runs") from None
    if seconds == 0:
        raise ValueError("must be longer than zero")
    return Window(seconds=seconds)


WindowText = Annotated[
    Window,
    PlainValidator(_parse_window),
    PlainSerializer(str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\s*(\d+\s+runs?|(\d+(\.\d+)?(ms|s|m|h|d|w))+)\s*$",
            "examples": ["5m", "20 runs"],
        }
    ),
]
"""A pydantic field with a :class:`Window`, written ``5m`` or ``20 runs``."""


class WindowSample(Struct, frozen=True, array_like=True, gc=False):
    """One sample: when (seconds since the epoch), and whether it was bad."""

    at: float
    bad: bool


class RatioState(Struct, frozen=True, kw_only=True, tag_field="type", tag="ratio", omit_defaults=True, gc=False):
    """The samples in the window, oldest first, and since when the ratio has been reached without a break."""

    samples: tuple[WindowSample, ...] = ()
    breached_since: float | None = None


class RatioRingState(
    Struct, frozen=True, kw_only=True, tag_field="type", tag="ratio_ring", omit_defaults=True, gc=False
):
    """The window as a ring of buckets, and since when the ratio has been reached without a break."""

    ring: Ring
    breached_since: float | None = None


class Ratio(BaseDetector):
    """Fires when at least ``threshold`` of the samples in the window are bad.

    ``over`` is the window. It must contain ``min_samples``; with fewer, the detector neither fires nor resolves. With
    ``for`` the threshold must be reached at every sample for that many seconds; it is evaluated when a sample arrives,
    not in between.

    Resolves on a good sample at which less than *half* the threshold is bad, again of at least ``min_samples``. An
    error rate close to the threshold thus fires once, not at every crossing.

    A window of time with many runs of pooled canaries is stored as 60 buckets, so that its length is exact to a
    sixtieth, and its state is small.
    """

    type: Literal["ratio"]
    over: WindowText = Window(seconds=300.0)
    threshold: Fraction = 0.5
    min_samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] = 5
    hold: Annotated[Duration, Field(alias="for")] = 0.0

    @model_validator(mode="after")
    def _check_window(self) -> "Ratio":
        if self.over.runs is not None and self.min_samples > self.over.runs:
            raise ValueError(
                f"min_samples ({self.min_samples}) is more than the window of {self.over.runs} runs can hold: "
                "it could never fire"
            )
        return self

    @property
    def resolve_condition(self) -> str:
        """What resolves the alert, as text."""
        runs = f"the last {self.over}" if self.over.seconds is None else f"the runs of the last {self.over}"
        return f"a good run, once less than {self.threshold * 50:g}% of {runs} are bad"

    def for_stream(self, stream: SampleStream) -> "Ratio | RingRatio":
        """Return the detector itself, or the one with buckets for many runs of pooled canaries."""
        seconds = self.over.seconds
        is_pooled = isinstance(stream.schedule, Pooled)
        if is_pooled and seconds is not None and seconds / stream.interval > _MAX_POOLED_SAMPLES:
            return RingRatio(self, seconds)
        return self

    def runs_per_window(self, interval: float) -> int:
        """Return the number of runs in a full window, at one run every ``interval`` seconds."""
        if self.over.seconds is None:
            return self.over.runs or 1
        # the last run, and those that are older by less than the window
        return max(1, min(MAX_SAMPLES, math.ceil(self.over.seconds / interval - 1e-9)))

    def config_error(self, stream: SampleStream) -> ConfigIssue | None:
        """Return an error if the window cannot contain ``min_samples``."""
        seconds = self.over.seconds
        runs = self.over.runs or 1 if seconds is None else stream.schedule.max_runs(seconds)
        if runs >= self.min_samples:
            return None
        return ConfigIssue(
            ("over",),
            f"{stream.subject} runs every {stream.schedule}, {format_times(runs)} in {self.over}: fewer than "
            f"min_samples ({self.min_samples}), so it could never fire",
        )

    def config_warning(self, stream: SampleStream) -> str | None:
        """Return a warning if a single failure fires, or the window holds fewer runs than its length implies."""
        interval = stream.schedule.median_interval
        runs, threshold = self.runs_per_window(interval), format_fraction(self.threshold)
        is_pooled = isinstance(stream.schedule, Pooled)
        if self.over.seconds is not None and self.over.seconds / interval > MAX_SAMPLES and not is_pooled:
            return (
                f"{stream.subject} runs {self.over.seconds / interval:.0f} times in {self.over}, and a window holds "
                f"at most {MAX_SAMPLES}: it covers {format_duration(MAX_SAMPLES * interval)}; use burn_rate for longer"
            )
        if min_count(self.threshold, runs) == 1:
            return (
                f"one failed run of the {runs} in {self.over} is {format_fraction(1 / runs)}, and fires at {threshold}"
            )
        if min_count(self.threshold, self.min_samples) == 1:
            return (
                f"after a start or a gap one failed run of {self.min_samples} (min_samples) is "
                f"{format_fraction(1 / self.min_samples)}, and fires at {threshold}"
            )
        return None

    def feed(self, state: object, *, bad: bool, at: float, firing: bool) -> DetectorResult[RatioState]:
        """Return the result after one more sample at ``at`` (seconds since the epoch), starting from ``state``.

        With ``None``, or the state of another detector, it starts from the beginning.
        """
        state = state if isinstance(state, RatioState) else RatioState()
        samples = (*self._within(state.samples, at), WindowSample(at, bad))
        samples = samples[-(self.over.runs or MAX_SAMPLES) :]
        count = sum(sample.bad for sample in samples)
        firing, breached_since = self.evaluate(count, len(samples), state.breached_since, bad=bad, at=at, firing=firing)
        return DetectorResult(
            RatioState(samples=samples, breached_since=breached_since),
            firing,
            FailureCounts(count, len(samples), samples[0].at),
        )

    def forget_failures(self, state: object, at: float) -> RatioState:
        """Return the state with good samples in place of the bad ones."""
        samples = state.samples if isinstance(state, RatioState) else ()
        return RatioState(samples=tuple(WindowSample(sample.at, bad=False) for sample in samples))

    def progress(self, state: object, *, firing: bool, now: float) -> Progress:
        """Return the bad runs in the window of those that fire it; while ``firing``, those above half the threshold."""
        samples = self._within(state.samples, now) if isinstance(state, RatioState) else ()
        breached_since = state.breached_since if isinstance(state, RatioState) else None
        count = sum(sample.bad for sample in samples)
        return self.progress_of(count, len(samples), breached_since, firing=firing, now=now)

    def progress_of(
        self, count: int, total: int, breached_since: float | None, *, firing: bool, now: float
    ) -> Progress:
        """Return the progress with ``count`` bad ones of ``total`` samples; see :meth:`evaluate`."""
        runs = f"{count} of {total} runs bad" if total else "no runs"
        needed = min_count(self.threshold, max(total, self.min_samples))
        if firing:
            below = min_count(self.threshold / 2, max(total, self.min_samples))
            left = max(count - below + 1, 0)
            return Progress.of(left, needed - below + 1, f"{runs} in the last {self.over}; resolves below {below}")
        if breached_since is not None and self.hold and count >= needed:
            held = min(max(now - breached_since, 0.0), self.hold)
            text = f"{runs} in the last {self.over}, for {format_duration(held)} of {format_duration(self.hold)}"
            return Progress.of(held, self.hold, text)
        text = f"{count} of {needed}" if total >= self.min_samples else f"{runs}, of at least {self.min_samples} runs"
        return Progress.of(count, needed, text)

    def evaluate(
        self, count: int, total: int, breached_since: float | None, *, bad: bool, at: float, firing: bool
    ) -> tuple[bool, float | None]:
        """Return whether the alert fires with ``count`` bad ones of ``total`` samples, and since when it is breached.

        ``breached_since`` is that before the sample at ``at``; times are seconds since the epoch.
        """
        has_min_samples = total >= self.min_samples
        if not has_min_samples or count < min_count(self.threshold, total):
            breached_since = None
        else:  # the clock may have been set back: the time is never later than now
            breached_since = at if breached_since is None else min(breached_since, at)
        if firing:
            firing = bad or not has_min_samples or count >= min_count(self.threshold / 2, total)
        else:
            firing = breached_since is not None and at - breached_since >= self.hold
        return firing, breached_since

    def _within(self, samples: tuple[WindowSample, ...], at: float) -> tuple[WindowSample, ...]:
        """Return the samples that are still in the window at ``at``.

        Samples with a later time than ``at`` (the clock was set back) get the time ``at``.
        """
        if samples and samples[-1].at > at:
            samples = tuple(sample if sample.at <= at else WindowSample(at, sample.bad) for sample in samples)
        if self.over.seconds is None:
            return samples
        oldest = at - self.over.seconds
        return tuple(sample for sample in samples if sample.at > oldest)


class RingRatio(NamedTuple):
    """The detector ``ratio`` with a window of ``seconds`` in buckets."""

    ratio: Ratio
    seconds: float

    @property
    def resolve_condition(self) -> str:
        """What resolves the alert, as text."""
        return self.ratio.resolve_condition

    def progress(self, state: object, *, firing: bool, now: float) -> Progress:
        """Return the progress of the window in buckets; see :meth:`Ratio.progress`."""
        known = state if isinstance(state, RatioRingState) and state.ring.seconds == self.seconds else None
        count, total = known.ring.counts_at(now) if known else (0, 0)
        breached_since = known.breached_since if known else None
        return self.ratio.progress_of(count, total, breached_since, firing=firing, now=now)

    def feed(self, state: object, *, bad: bool, at: float, firing: bool) -> DetectorResult[RatioRingState]:
        """Return the result after one more sample at ``at`` (seconds since the epoch), starting from ``state``.

        With ``None``, the state of another detector or of a window of another length, it starts from the beginning.
        """
        known = state if isinstance(state, RatioRingState) and state.ring.seconds == self.seconds else None
        ring = (known.ring if known else Ring(self.seconds)).add(bad=bad, at=at)
        count, total = ring.counts
        breached_since = known.breached_since if known else None
        firing, breached_since = self.ratio.evaluate(count, total, breached_since, bad=bad, at=at, firing=firing)
        since = min(ring.buckets[0].number * ring.bucket_seconds, at)
        return DetectorResult(
            RatioRingState(ring=ring, breached_since=breached_since), firing, FailureCounts(count, total, since)
        )

    def forget_failures(self, state: object, at: float) -> RatioRingState:
        """Return the state with good samples in place of the bad ones."""
        ring = state.ring if isinstance(state, RatioRingState) else Ring(self.seconds)
        return RatioRingState(ring=ring.without_failures())
