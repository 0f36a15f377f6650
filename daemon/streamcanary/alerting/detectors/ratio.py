"""``ratio``: too large a part of the samples in a window is bad."""

import math
import re
from typing import Annotated, Literal, NamedTuple, Self

from msgspec import Struct
from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from streamcanary.alerting.detectors.base import DetectorModel, Tally, Verdict
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import Misfit
from streamcanary.model.config_types.duration import Duration, format_duration, parse_duration
from streamcanary.model.config_types.fraction import Fraction, format_fraction, least

MOST_SAMPLES = 1000
"""How many samples a window holds at most; in a fuller window the oldest go first."""

_RUNS = re.compile(r"\s*(\d{1,100})\s+runs?\s*")
_BARE = re.compile(r"\s*\d{1,100}(?:\.\d{1,100})?\s*")


class Window(NamedTuple):
    """How far back a ratio looks: a time in seconds, or a number of runs. One of the two is set."""

    seconds: float | None = None
    runs: int | None = None

    def __str__(self) -> str:
        return f"{self.runs} runs" if self.seconds is None else format_duration(self.seconds)


def _parse_window(value: object) -> Window:
    if isinstance(value, Window):
        return value
    if isinstance(value, str) and (written := _RUNS.fullmatch(value)):
        runs = int(written.group(1))
        if not 1 <= runs <= MOST_SAMPLES:
            raise ValueError(f"a window is 1 to {MOST_SAMPLES} runs")
        return Window(runs=runs)
    if type(value) in (int, float) or (isinstance(value, str) and _BARE.fullmatch(value)):
        shown = f"{value}".strip()[:12]
        raise ValueError(f"is it runs or seconds? Write {shown} runs or {shown}s")
    try:
        seconds = parse_duration(value)
    except ValueError:
        raise ValueError("not a window: write a time such as 5m, or a number of runs such as 20 runs") from None
    if seconds == 0:
        raise ValueError("a window is longer than zero")
    return Window(seconds=seconds)


WindowText = Annotated[
    Window,
    PlainValidator(_parse_window),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["5m", "20 runs"]}),
]
"""A pydantic field with a :class:`Window`, written ``5m`` or ``20 runs``."""


class Seen(Struct, frozen=True, array_like=True):
    """One sample: when (seconds since the epoch), and whether it was bad."""

    at: float
    bad: bool


class RatioState(Struct, frozen=True, kw_only=True, tag_field="type", tag="ratio", omit_defaults=True):
    """The samples in the window, oldest first, and since when the ratio has been reached without a break."""

    seen: tuple[Seen, ...] = ()
    reached: float | None = None


class Ratio(DetectorModel):
    """Fires when at least ``threshold`` of the samples in the window are bad.

    ``over`` is the window. There must be ``min_samples`` in it, or it says nothing. With ``for`` the ratio must have
    been reached at every sample for so many seconds; it is judged when a sample arrives, not in between.

    Resolves on a good sample at which less than *half* the threshold is bad, again of at least ``min_samples``: an
    error rate that hovers about the threshold pages once, not at every crossing.
    """

    type: Literal["ratio"]
    over: WindowText = Window(seconds=300.0)
    threshold: Fraction = 0.5
    min_samples: Annotated[int, Field(ge=1, le=MOST_SAMPLES)] = 5
    hold: Annotated[Duration, Field(alias="for")] = 0.0

    @model_validator(mode="after")
    def _window_holds_enough(self) -> "Ratio":
        if self.over.runs is not None and self.min_samples > self.over.runs:
            raise ValueError(
                f"min_samples ({self.min_samples}) is more than the window of {self.over.runs} runs can hold: "
                "it could never fire"
            )
        return self

    @property
    def ends(self) -> str:
        """What resolves it, in words."""
        return f"a good run, with less than {self.threshold * 50:g}% of the runs in the last {self.over} bad"

    def for_canary(self, canary: Canary) -> Self:
        """Return the detector as it is: it asks the same of every canary."""
        return self

    def runs(self, interval: float) -> int:
        """Return how many runs a full window holds, at one each ``interval`` seconds."""
        if self.over.seconds is None:
            return self.over.runs or 1
        # the last one, and those that are less than the window older
        return max(1, min(MOST_SAMPLES, math.ceil(self.over.seconds / interval - 1e-9)))

    def unfit(self, canary: Canary) -> Misfit | None:
        """Return what is wrong if the window is over before there are ``min_samples`` in it."""
        seconds = self.over.seconds
        runs = self.over.runs or 1 if seconds is None else canary.schedule.most_runs(seconds)
        if runs >= self.min_samples:
            return None
        return Misfit(
            ("over",),
            f"{canary.name} runs every {canary.schedule}, {runs} times in {self.over}: fewer than min_samples "
            f"({self.min_samples}), so it could never fire",
        )

    def doubt(self, canary: Canary) -> str | None:
        """Return what is to be said if a single failure fires."""
        pace = canary.schedule.pace
        runs, threshold = self.runs(pace), format_fraction(self.threshold)
        if self.over.seconds is not None and self.over.seconds / pace > MOST_SAMPLES:
            return (
                f"{canary.name} runs {self.over.seconds / pace:.0f} times in {self.over}, and a window holds "
                f"{MOST_SAMPLES} at most: it looks back {format_duration(MOST_SAMPLES * pace)}; burn_rate looks further"
            )
        if least(self.threshold, runs) == 1:
            return (
                f"one failed run of the {runs} in {self.over} is {format_fraction(1 / runs)}, and fires at {threshold}"
            )
        if least(self.threshold, self.min_samples) == 1:
            return (
                f"after a start or a gap one failed run of {self.min_samples} (min_samples) is "
                f"{format_fraction(1 / self.min_samples)}, and fires at {threshold}"
            )
        return None

    def feed(self, state: object, *, bad: bool, at: float, firing: bool) -> Verdict[RatioState]:
        """Return the verdict after one more sample, seen ``at`` (seconds since the epoch), on top of ``state``.

        Whatever is no state of this detector (``None``, or that of another one) starts it afresh.
        """
        state = state if isinstance(state, RatioState) else RatioState()
        seen = (*self._within(state.seen, at), Seen(at, bad))
        seen = seen[-(self.over.runs or MOST_SAMPLES) :]
        count = sum(sample.bad for sample in seen)
        enough = len(seen) >= self.min_samples
        reached = None
        if enough and count >= least(self.threshold, len(seen)):
            # after a clock step back it cannot have been reached later than now
            reached = at if state.reached is None else min(state.reached, at)
        if firing:
            firing = bad or not enough or count >= least(self.threshold / 2, len(seen))
        else:
            firing = reached is not None and at - reached >= self.hold
        return Verdict(RatioState(seen=seen, reached=reached), firing, Tally(count, len(seen), seen[0].at))

    def _within(self, seen: tuple[Seen, ...], at: float) -> tuple[Seen, ...]:
        """Return the samples that are still in the window at ``at``.

        Those that seem to come from later (the clock was set back) count as of now, and leave a window's length later.
        """
        if seen and seen[-1].at > at:
            seen = tuple(sample if sample.at <= at else Seen(at, sample.bad) for sample in seen)
        if self.over.seconds is None:
            return seen
        oldest = at - self.over.seconds
        return tuple(sample for sample in seen if sample.at > oldest)
