"""What is known in memory of one canary, and its status."""

import math
from collections.abc import Sequence
from typing import Final

from streamcanary.canary.status.hour_counts import HourCounts
from streamcanary.canary.status.periods import Periods
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.model.redaction.redactor import scrub
from streamcanary.model.status.canary_status import (
    CanaryState,
    CanaryStatus,
    Percentiles,
    PeriodStatistics,
    RecentRun,
)

_STATES: Final = {
    OutcomeKind.OK: CanaryState.OK,
    OutcomeKind.SLOW: CanaryState.SLOW,
    OutcomeKind.FAILED_OVER: CanaryState.DEGRADED,
    OutcomeKind.FAILED: CanaryState.FAILING,
}
_ANSWERED = frozenset({OutcomeKind.OK.value, OutcomeKind.SLOW.value})
_MISSED_RUNS = 3  # after this many runs without a result, the state is unknown
_MAX_MESSAGE = 300  # characters


class CanaryEntry:
    """The last ``max_runs`` runs of ``canary``, its state since when, and its counts of the last hour.

    ``revision`` is the number of the last change, among those of all canaries. ``periods`` are from the store.
    """

    __slots__ = (
        "_counted_since",
        "_fault",
        "_headroom",
        "_hour",
        "_last_result",
        "_message",
        "_since",
        "_state",
        "_state_may_be_older",
        "canary",
        "first_run",
        "max_runs",
        "periods",
        "revision",
        "runs",
    )

    def __init__(self, canary: Canary, max_runs: int) -> None:
        self.canary = canary
        self.revision = 0
        self.periods = Periods()
        self.max_runs = max_runs
        self.runs: tuple[RecentRun, ...] = ()  # statuses share it
        self.first_run: float | None = None  # the start of the oldest run that was observed
        self._state = CanaryState.UNKNOWN
        self._since: float | None = None
        self._state_may_be_older = False
        self._fault: str | None = None
        self._message = ""
        self._last_result: float | None = None  # the start of the last run that says something about the target
        self._headroom: dict[str, float] = {}
        self._hour = HourCounts()
        self._counted_since: float | None = None

    def observe(self, outcome: Outcome) -> None:
        """Add a run that has ended."""
        self._add(outcome, _recent_run(outcome))

    def observe_recorded(self, outcome: Outcome) -> bool:
        """Add a run of another replica, and return whether it is new; before a later one, it changes no state."""
        if any(run.run_id == outcome.run_id for run in self.runs):
            return False
        run = _recent_run(outcome)
        if not self.runs or outcome.started >= self.runs[-1].started:
            self._add(outcome, run)
            return True
        self.runs = tuple(sorted((*self.runs, run), key=lambda each: each.started))[-self.max_runs :]
        if outcome.kind in _STATES:
            self._hour.add(outcome)
        return True

    def seed(self, outcomes: Sequence[Outcome]) -> None:
        """Add recorded runs, the oldest first, that ended before all that were observed since the start."""
        observed = list(self.runs)
        known = {run.run_id for run in observed}
        earlier = [outcome for outcome in outcomes if outcome.run_id not in known]
        if not earlier:
            return
        before = CanaryEntry(self.canary, self.max_runs)
        for outcome in earlier:
            before.observe(outcome)
        if len(outcomes) >= before.max_runs:  # there may be more in the store
            before._counted_since = earlier[0].started
            first = next((outcome for outcome in earlier if outcome.kind in _STATES), None)
            before._state_may_be_older = first is None or before._since == first.started
        before._continue_with(self)
        self._take(before)

    @property
    def kinds_of_older_state(self) -> frozenset[str]:
        """The outcomes of the state, if it may have begun before the runs that are known; otherwise empty."""
        if not self._state_may_be_older:
            return frozenset()
        return frozenset(kind.value for kind, state in _STATES.items() if state is self._state)

    def extend_state(self, kinds: frozenset[str], start: float) -> None:
        """Let the state of the outcomes ``kinds`` begin at ``start``, unless it has changed meanwhile."""
        if kinds and kinds == self.kinds_of_older_state and self._since is not None:
            self._since = min(self._since, start)
            self._state_may_be_older = False

    @property
    def has_result(self) -> bool:
        """Whether a run has said something about the target."""
        return self._last_result is not None

    def resize(self, canary: Canary, max_runs: int) -> None:
        """Continue as ``canary``, with another number of runs."""
        self.canary = canary
        self.max_runs = max_runs
        self.runs = self.runs[-max_runs:]

    def stale_at(self) -> float | None:
        """Return when the state is unknown without another result: when three runs should have ended."""
        if self._last_result is None:
            return None
        return self.canary.nth_run_after(self._last_result, _MISSED_RUNS) + self.canary.timeout

    def valid_until(self, now: float, next_run: float | None) -> float:
        """Return until when the status of ``now`` is valid, if no run ends."""
        times = [HourCounts.valid_until(now)]
        if next_run is not None and next_run > now:
            times.append(next_run)
        if (stale_at := self.stale_at()) is not None and stale_at > now:
            times.append(stale_at)
        return min(times)

    def status(
        self, now: float, next_run: float | None, alerts: tuple[str, ...], *, has_hours: bool = True
    ) -> CanaryStatus:
        """Return the status at ``now``; its ``hours`` are empty unless it ``has_hours``."""
        state, since = self._state, self._since
        stale_at = self.stale_at()
        if stale_at is not None and now >= stale_at:
            state, since = CanaryState.UNKNOWN, stale_at
        canary = self.canary
        is_bad = state in (CanaryState.DEGRADED, CanaryState.FAILING)
        return CanaryStatus(
            name=canary.name,
            target=canary.target,
            provider=canary.provider,
            model=canary.model,
            labels=canary.labels,
            interval=canary.interval,
            state=state,
            since=since,
            next_run=next_run,
            known_since=self.periods.known_since if self.periods.known_since is not None else self.first_run,
            fault=self._fault if is_bad else None,
            message=scrub(self._message, limit=_MAX_MESSAGE) if is_bad else "",
            recent_runs=self.runs,
            hour=self._last_hour(now),
            hours=self.periods.hours.statistics() if has_hours else (),
            day=self.periods.day,
            week=self.periods.week,
            month=self.periods.month,
            headroom=self._headroom,
            alerts=alerts,
        )

    def _add(self, outcome: Outcome, run: RecentRun) -> None:
        if self.first_run is None:
            self.first_run = outcome.started
        self.runs = (*self.runs[-self.max_runs + 1 :], run) if self.max_runs > 1 else (run,)
        state = _STATES.get(outcome.kind)
        if state is None:
            return
        self._hour.add(outcome)
        self._last_result = outcome.started
        if state is not self._state:
            self._state, self._since, self._state_may_be_older = state, outcome.started, False
        if outcome.fault is not None:
            self._fault, self._message = outcome.fault.kind.value, outcome.fault.message[: 4 * _MAX_MESSAGE]
        if (limits := outcome.rate_limits) is not None:
            parts = ((kind, quota.headroom) for kind, quota in limits.by_type())
            self._headroom = {kind: part for kind, part in parts if part is not None}

    def _continue_with(self, later: "CanaryEntry") -> None:
        """Take over what ``later`` has observed after the runs of this entry."""
        self.runs = (*self.runs, *later.runs)[-self.max_runs :]
        self._hour.extend(later._hour)
        if later._last_result is not None:
            if later._state is not self._state or self._since is None:
                self._state, self._since, self._state_may_be_older = later._state, later._since, False
            self._last_result = later._last_result
            self._fault, self._message = later._fault or self._fault, later._message or self._message
        self._headroom = later._headroom or self._headroom

    def _take(self, other: "CanaryEntry") -> None:
        for name in (
            "runs",
            "first_run",
            "_state",
            "_since",
            "_state_may_be_older",
            "_fault",
            "_message",
            "_last_result",
            "_headroom",
        ):
            setattr(self, name, getattr(other, name))
        self._hour, self._counted_since = other._hour, other._counted_since

    def _last_hour(self, now: float) -> PeriodStatistics:
        """Return the last hour; its percentiles are those of the kept runs within it."""
        counts = self._hour.total(now)
        started = counts.started if self._counted_since is None else max(counts.started, self._counted_since)
        answered = [run for run in self.runs if run.started >= started and run.outcome in _ANSWERED]
        return PeriodStatistics(
            started=started,
            length=max(0.0, now - started),
            runs=counts.runs,
            failed=counts.failed,
            failed_over=counts.failed_over,
            first_attempt_failed=counts.first_attempt_failed,
            slow=counts.slow,
            first_token=_percentiles([run.first_token for run in answered if run.first_token is not None]),
            duration=_percentiles([run.duration for run in answered]),
        )


def _recent_run(outcome: Outcome) -> RecentRun:
    return RecentRun(
        run_id=outcome.run_id,
        started=outcome.started,
        outcome=outcome.kind.value,
        duration=round(outcome.duration, 4),
        attempts=len(outcome.attempts),
        first_token=None if outcome.time_to_first_token is None else round(outcome.time_to_first_token, 4),
        fault=outcome.reason if outcome.fault is None else outcome.fault.kind.value,
    )


def _percentiles(values: list[float]) -> Percentiles | None:
    """Return percentiles by the nearest rank."""
    if not values:
        return None
    values.sort()
    p50, p95, p99 = (values[math.ceil(part * len(values)) - 1] for part in (0.5, 0.95, 0.99))
    return Percentiles(p50=p50, p95=p95, p99=p99)
