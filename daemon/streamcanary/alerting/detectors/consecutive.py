"""The ``consecutive`` detector: fires at a number of bad samples in a row."""

from typing import Annotated, Literal, Self

from msgspec import Struct
from pydantic import Field

from streamcanary.alerting.detectors.base import BaseDetector, DetectorResult, FailureCounts, Progress, SampleStream

_Count = Annotated[int, Field(ge=1, le=1000)]


class ConsecutiveState(
    Struct, frozen=True, kw_only=True, tag_field="type", tag="consecutive", omit_defaults=True, gc=False
):
    """The current series: the number of ``bad`` or ``good`` samples in a row, and the start of a bad series.

    The counts stop at the limits of the detector, so a steady state stays the same value and is not written again.
    """

    bad: int = 0
    good: int = 0
    since: float = 0.0


class Consecutive(BaseDetector):
    """Fires at ``failures`` bad samples in a row; resolves at ``resolve_after`` good ones in a row.

    ``resolve_after`` is ``failures`` unless set. A lower number resolves sooner and flaps more: at a steady 50 % of
    errors, "three to fire, one to resolve" fires about twice as often as "three, three".
    A good sample ends a series of bad ones and the reverse; neutral samples do neither.
    """

    type: Literal["consecutive"]
    failures: _Count = 3
    resolve_after: _Count | None = None

    @property
    def resolve_condition(self) -> str:
        """What resolves the alert, as text."""
        return "one good run" if self.resolve_count == 1 else f"{self.resolve_count} good runs in a row"

    @property
    def resolve_count(self) -> int:
        """The number of good samples in a row that resolve the alert."""
        return self.resolve_after or self.failures

    def for_stream(self, stream: SampleStream) -> Self:
        """Return the detector itself: it is the same for every stream."""
        return self

    def config_warning(self, stream: SampleStream) -> str | None:
        """Return a warning if a single failure fires."""
        if self.failures > 1:
            return None
        return "one failed run fires, and single failures are common; write failures: 2 or more"

    def progress(self, state: object, *, firing: bool, now: float) -> Progress:
        """Return the failures in a row, ``2 of 3 in a row``; while ``firing`` the good runs that are missing."""
        state = state if isinstance(state, ConsecutiveState) else ConsecutiveState()
        if not firing:
            return Progress.of(state.bad, self.failures, f"{state.bad} of {self.failures} in a row")
        left = max(self.resolve_count - state.good, 0)
        runs = "one good run" if left == 1 else f"{left} good runs"
        return Progress.of(left, self.resolve_count, f"{runs} until it resolves")

    def feed(self, state: object, *, bad: bool, at: float, firing: bool) -> DetectorResult[ConsecutiveState]:
        """Return the result after one more sample at ``at`` (seconds since the epoch), starting from ``state``.

        With ``None``, or the state of another detector, it starts from the beginning.
        """
        state = state if isinstance(state, ConsecutiveState) else ConsecutiveState()
        if bad:
            since = min(state.since, at) if state.bad else at
            state = ConsecutiveState(bad=min(state.bad + 1, self.failures), since=since)
            firing = firing or state.bad >= self.failures
        else:
            state = ConsecutiveState(good=min(state.good + 1, self.resolve_count))
            firing = firing and state.good < self.resolve_count
        since = state.since if state.bad else at
        return DetectorResult(state, firing, FailureCounts(state.bad, state.bad or state.good, since))

    def forget_failures(self, state: object, at: float) -> ConsecutiveState:
        """Return the state without a series."""
        return ConsecutiveState()
