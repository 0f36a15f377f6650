"""The ``burn_rate`` detector: fires when the error budget of an objective is used up too fast."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Literal, Self

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamcanary.alerting.detectors.base import (
    BaseDetector,
    DetectorResult,
    FailureCounts,
    Progress,
    SampleStream,
    format_times,
)
from streamcanary.alerting.detectors.ring import Ring
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.duration import PositiveDuration, format_duration
from streamcanary.model.config_types.fraction import Fraction, format_fraction, min_count

_Window = Annotated[PositiveDuration, Field(ge=10, le=30 * 86400)]


class BurnWindow(BaseModel):
    """A ``long`` and a ``short`` window in seconds, and the burn ``rate`` at which they fire.

    At a rate of 1 the error budget lasts exactly for the period of the objective.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    long: _Window
    short: _Window
    rate: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.short >= self.long:
            short, long = format_duration(self.short), format_duration(self.long)
            raise_config_errors(
                type(self).__name__, [ConfigIssue(("short",), f"{short} must be shorter than long ({long})")]
            )
        return self


class BurnRateState(Struct, frozen=True, kw_only=True, tag_field="type", tag="burn_rate", omit_defaults=True, gc=False):
    """The state of a ``burn_rate`` detector: one ring for each length of a window."""

    rings: tuple[Ring, ...] = ()


class BurnRate(BaseDetector):
    """Fires when any of ``windows`` burns: the errors in both its long and its short window have reached its ``rate``.

    The rate is a multiple of the error budget: at an objective of 99 % a rate of 14.4 is 14.4 % of errors. The long
    window must contain ``min_samples``.

    The default windows are those that *The Site Reliability Workbook*, chapter 5, recommends for pages: 14.4 over 1 h
    and 5 m (2 % of the budget of a month in one hour), and 6 over 6 h and 30 m. For tickets it recommends 3 over 1 d
    and 2 h, and 1 over 3 d and 6 h.

    Resolves on a good sample at which every *short* window is below *half* its rate, and the longest window contains
    ``min_samples``. A window is stored as 60 buckets, so its length is exact to a sixtieth, and the state is bounded.
    """

    type: Literal["burn_rate"]
    objective: Fraction
    windows: Annotated[tuple[BurnWindow, ...], Field(min_length=1, max_length=4)] = (
        BurnWindow(long=3600, short=300, rate=14.4),
        BurnWindow(long=6 * 3600, short=1800, rate=6),
    )
    min_samples: Annotated[int, Field(ge=1, le=1000)] = 10

    @model_validator(mode="after")
    def _check_thresholds(self) -> Self:
        raise_config_errors(type(self).__name__, self._threshold_errors())
        return self

    @property
    def error_budget(self) -> float:
        """The fraction of runs that may fail."""
        return round(1 - self.objective, 12)

    @property
    def resolve_condition(self) -> str:
        """What resolves the alert, as text."""
        parts = (
            f"{format_fraction(window.rate * self.error_budget / 2)} of the last {format_duration(window.short)}"
            for window in self.windows
        )
        return f"a good run, with less than {' and '.join(parts)} bad"

    def for_stream(self, stream: SampleStream) -> Self:
        """Return the detector itself: it is the same for every stream."""
        return self

    def config_error(self, stream: SampleStream) -> ConfigIssue | None:
        """Return an error if even the longest window cannot contain ``min_samples``."""
        longest = max(window.long for window in self.windows)
        runs = stream.schedule.max_runs(longest)
        if runs >= self.min_samples:
            return None
        return ConfigIssue(
            ("windows",) if "windows" in self.model_fields_set else (),
            f"{stream.subject} runs every {stream.schedule}, {format_times(runs)} in {format_duration(longest)}: "
            f"fewer than min_samples ({self.min_samples}), so it could never fire",
        )

    def config_warning(self, stream: SampleStream) -> str | None:
        """Return a warning if some of the windows cannot contain ``min_samples``."""
        too_short = [window for window in self.windows if stream.schedule.max_runs(window.long) < self.min_samples]
        if not too_short:
            return None
        described = " and ".join(
            f"{stream.schedule.max_runs(window.long)} in {format_duration(window.long)}" for window in too_short
        )
        return f"{described}: fewer runs than min_samples ({self.min_samples}), so that only longer windows can fire"

    def progress(self, state: object, *, firing: bool, now: float) -> Progress:
        """Return the burn rate of the window that is nearest to firing; while ``firing``, furthest from resolving."""
        known = {ring.seconds: ring for ring in state.rings} if isinstance(state, BurnRateState) else {}

        def burn(seconds: float) -> float:
            bad, total = known[seconds].counts_at(now) if seconds in known else (0, 0)
            return bad / total / self.error_budget if total else 0.0

        found = []
        for window in self.windows:
            short = burn(window.short)
            if firing:
                half = window.rate / 2
                text = f"burns {short:.3g}x over {format_duration(window.short)}; resolves below {half:.3g}x"
                found.append(Progress.of(short - half, half, text))
            else:
                rate = min(short, burn(window.long))
                text = f"burns {rate:.3g}x of {window.rate:g}x over {format_duration(window.long)}"
                found.append(Progress.of(rate, window.rate, text))
        return max(found, key=lambda progress: progress.fraction)

    def feed(self, state: object, *, bad: bool, at: float, firing: bool) -> DetectorResult[BurnRateState]:
        """Return the result after one more sample at ``at`` (seconds since the epoch), starting from ``state``.

        With the state of another detector it starts from the beginning; a window of a new length starts empty.
        """
        known = {ring.seconds: ring for ring in state.rings} if isinstance(state, BurnRateState) else {}
        rings = {seconds: (known.get(seconds) or Ring(seconds)).add(bad=bad, at=at) for seconds in self._window_lengths}
        counts = {seconds: ring.counts for seconds, ring in rings.items()}

        def reached(seconds: float, part: float) -> bool:
            count, total = counts[seconds]
            return count >= min_count(min(part, 1.0), total)

        burning = [
            window
            for window, part in self._error_parts
            if counts[window.long][1] >= self.min_samples and reached(window.long, part) and reached(window.short, part)
        ]
        if not firing:
            firing = bool(burning)
        elif not bad and counts[max(counts)][1] >= self.min_samples:
            firing = any(reached(window.short, part / 2) for window, part in self._error_parts)
        reported = rings[(burning or self.windows)[0].long]
        since = reported.buckets[0].number * reported.bucket_seconds
        return DetectorResult(
            BurnRateState(rings=tuple(rings.values())), firing, FailureCounts(*counts[reported.seconds], min(since, at))
        )

    def forget_failures(self, state: object, at: float) -> BurnRateState:
        """Return the state with good samples in place of the bad ones."""
        rings = state.rings if isinstance(state, BurnRateState) else ()
        return BurnRateState(rings=tuple(ring.without_failures() for ring in rings))

    @cached_property
    def _window_lengths(self) -> tuple[float, ...]:
        """The lengths of all windows in seconds, in ascending order."""
        return tuple(sorted({length for window in self.windows for length in (window.long, window.short)}))

    @cached_property
    def _error_parts(self) -> tuple[tuple[BurnWindow, float], ...]:
        """Each window with the part of its samples that must be bad."""
        return tuple((window, window.rate * self.error_budget) for window in self.windows)

    def _threshold_errors(self) -> Iterator[ConfigIssue]:
        if self.error_budget <= 0:
            message = "an objective of 100% leaves no error budget to burn: write a lower one, such as 99.9%"
            yield ConfigIssue(("objective",), message)
            return
        for number, window in enumerate(self.windows):
            if window.rate * self.error_budget > 1 + 1e-9:
                yield ConfigIssue(
                    ("windows", number, "rate") if "windows" in self.model_fields_set else ("objective",),
                    f"at an objective of {format_fraction(self.objective)} a burn rate of {window.rate:g} is "
                    f"{window.rate * self.error_budget * 100:.3g}% of errors, so it could never fire; "
                    f"set windows with a rate of at most {1 / self.error_budget:.3g}",
                    conflicts_with=("objective",),
                )
