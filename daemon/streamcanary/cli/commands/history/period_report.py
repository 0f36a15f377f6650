"""What a report on a period says, computed from rollups and the history of alerts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from streamcanary.model.faults import FAULT_PROPERTIES, FaultKind
from streamcanary.model.statistics.quantile_sketch import QuantileSketch, quantile, value_count
from streamcanary.model.statistics.rollup import Rollup, RunCounts, RunDetails
from streamcanary.model.status.alert_history import PastIncident

DAY: Final = 86400
"""Seconds of a day (UTC)."""

_PARTS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class FaultCount(Struct, frozen=True):
    """How often the primary failed with a kind of fault; ``blame`` says who can fix it."""

    kind: str
    blame: str
    count: int


class DayAvailability(Struct, frozen=True):
    """The availability of a day that began at ``started`` (seconds since the epoch); ``None`` without runs."""

    started: int
    availability: float | None


class CanaryReport(Struct, frozen=True, kw_only=True):
    """One canary in a period.

    ``runs`` are those that say something about the target: not the skipped ones, nor internal errors. Rates are from 0
    to 1, ``None`` without runs. ``percentiles`` are by measure (``first_token``, ``duration`` and ``max_gap`` in
    seconds, ``tokens_per_second``), within 2 %; that of a speed is reached by so many of the runs. ``cost_usd`` is of
    the runs with a known price.
    """

    canary: str
    runs: int
    skipped: int
    slow: int
    failed: int
    failed_over: int
    availability: float | None
    error_rate: float | None
    first_attempt_error_rate: float | None
    percentiles: dict[str, dict[str, float]]
    faults: tuple[FaultCount, ...]
    days: tuple[DayAvailability, ...]
    input_tokens: int
    output_tokens: int
    cost_usd: float


class IncidentReport(Struct, frozen=True, kw_only=True):
    """An incident in the period. ``duration`` is in seconds, from when it fired; until now while it still fires."""

    rule: str
    subject: str
    severity: str
    summary: str
    opened: float
    since: float
    resolved: float | None
    duration: float
    faults: dict[str, int]
    message: str


class PeriodReport(Struct, frozen=True, kw_only=True):
    """The report on the period from ``since`` to ``until``, in seconds since the epoch."""

    since: float
    until: float
    canaries: tuple[CanaryReport, ...]
    incidents: tuple[IncidentReport, ...]

    @property
    def cost_usd(self) -> float:
        """The spend of all canaries."""
        return sum(canary.cost_usd for canary in self.canaries)


def canary_report(canary: str, rollups: Iterable[Rollup], since: float, until: float) -> CanaryReport:
    """Return the report on a canary; ``rollups`` are in the order of time."""
    counts, details, days = RunCounts(), RunDetails(), dict[int, RunCounts]()
    for rollup in rollups:
        counts.merge(rollup.counts)
        details.merge(rollup.details)
        days.setdefault(rollup.started // DAY, RunCounts()).merge(rollup.counts)
    runs = counts.answered + counts.primary_failed
    return CanaryReport(
        canary=canary,
        runs=runs,
        skipped=counts.skipped,
        slow=counts.slow,
        failed=counts.primary_failed,
        failed_over=counts.failed_over,
        availability=counts.availability,
        error_rate=counts.primary_failed / runs if runs else None,
        first_attempt_error_rate=counts.first_attempts_failed / runs if runs else None,
        percentiles=_percentiles(details),
        faults=_faults(details.failures),
        days=tuple(
            DayAvailability(day * DAY, days[day].availability if day in days else None)
            for day in range(int(since // DAY), int(until // DAY) + 1)
        ),
        input_tokens=details.input_tokens,
        output_tokens=details.output_tokens,
        cost_usd=details.cost,
    )


def incident_reports(incidents: Sequence[PastIncident], until: float) -> tuple[IncidentReport, ...]:
    """Return the incidents, the latest first."""
    return tuple(
        IncidentReport(
            rule=incident.rule,
            subject=incident.subject,
            severity=incident.severity,
            summary=incident.summary,
            opened=incident.opened,
            since=incident.since,
            resolved=incident.resolved,
            duration=max(0.0, (until if incident.resolved is None else incident.resolved) - incident.opened),
            faults=incident.faults,
            message=incident.message,
        )
        for incident in sorted(incidents, key=lambda each: -each.opened)
    )


def _percentiles(details: RunDetails) -> dict[str, dict[str, float]]:
    sketches: Mapping[str, QuantileSketch] = {
        "first_token": details.first_token,
        "duration": details.duration,
        "max_gap": details.max_gap,
    }
    found = {name: _quantiles(sketch) for name, sketch in sketches.items() if value_count(sketch)}
    if value_count(details.tokens_per_second):  # the sketch is of seconds for each token
        seconds = _quantiles(details.tokens_per_second)
        found["tokens_per_second"] = {name: 1 / value for name, value in seconds.items() if value}
    return found


def _quantiles(sketch: QuantileSketch) -> dict[str, float]:
    values = {name: quantile(sketch, part) for name, part in _PARTS.items()}
    return {name: value for name, value in values.items() if value is not None}


def _faults(failures: Mapping[str, int]) -> tuple[FaultCount, ...]:
    known = {kind.value: FAULT_PROPERTIES[kind].blame.value for kind in FaultKind if kind in FAULT_PROPERTIES}
    return tuple(
        FaultCount(kind, known.get(kind, "unknown"), count)
        for kind, count in sorted(failures.items(), key=lambda pair: (-pair[1], pair[0]))
    )
