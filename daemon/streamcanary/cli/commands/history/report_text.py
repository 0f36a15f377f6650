"""How a report shows values, whatever its format."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from streamcanary.cli.commands.history.period_report import CanaryReport, IncidentReport, PeriodReport
from streamcanary.cli.measurements.run_statistics import MEASURES
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.fault_words import fault_words
from streamcanary.model.redaction.printable import printable

NO_RUNS: Final = "No runs are recorded in this period."
AVAILABILITY_HEAD: Final = ("Canary", "Availability", "Runs", "Errors", "Before retries", "Slow", "Fallback", "USD")
PERCENTILE_HEAD: Final = ("Canary", "Measure", "p50", "p90", "p95", "p99")
FAULT_HEAD: Final = ("Canary", "Fault", "Blame", "Runs")
INCIDENT_HEAD: Final = ("Fired", "For", "Alert", "What", "Faults")


def format_rate(rate: float | None) -> str:
    """Return a rate as a percentage; three decimals, so that an availability of 99.995 % is not 100 %."""
    if rate is None:
        return "-"
    text = f"{rate * 100:.3f}".rstrip("0").rstrip(".")
    return f"{'<100' if text == '100' and rate < 1 else text} %"


def format_time(at: float) -> str:
    """Return a time to the minute, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def title(report: PeriodReport) -> str:
    """Return the period as a title."""
    return f"Availability from {format_time(report.since)} to {format_time(report.until)} UTC"


def summary(report: PeriodReport) -> str:
    """Return the period in one sentence."""
    runs, failed = sum(one.runs for one in report.canaries), sum(one.failed for one in report.canaries)
    if not runs:
        return NO_RUNS
    count, open_count = len(report.incidents), sum(one.resolved is None for one in report.incidents)
    firing = f", {open_count} of them still firing" if open_count else ""
    canaries = _number(len(report.canaries), "canary", "canaries")
    parts = [
        f"{canaries}, {_number(runs, 'run', 'runs')}, {format_rate(1 - failed / runs)} answered",
        f"{_number(count, 'incident', 'incidents')}{firing}",
    ]
    if report.cost_usd:
        parts.append(f"{report.cost_usd:.4f} USD")
    return "; ".join(parts) + "."


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def availability_row(one: CanaryReport) -> Sequence[str]:
    """Return a canary as a row of :data:`AVAILABILITY_HEAD`."""
    return (
        printable(one.canary, 200),
        format_rate(one.availability),
        str(one.runs),
        format_rate(one.error_rate),
        format_rate(one.first_attempt_error_rate),
        str(one.slow),
        str(one.failed_over),
        f"{one.cost_usd:.4f}" if one.cost_usd else "-",
    )


def percentile_rows(report: PeriodReport) -> list[Sequence[str]]:
    """Return the rows of :data:`PERCENTILE_HEAD`."""
    return [
        (
            printable(one.canary, 200),
            MEASURES[name].title,
            *(MEASURES[name].format(values.get(percent)) for percent in PERCENTILE_HEAD[2:]),
        )
        for one in report.canaries
        for name, values in one.percentiles.items()
    ]


def fault_rows(report: PeriodReport) -> list[Sequence[str]]:
    """Return the rows of :data:`FAULT_HEAD`."""
    return [
        (printable(one.canary, 200), printable(fault_words(fault.kind), 100), fault.blame, str(fault.count))
        for one in report.canaries
        for fault in one.faults
    ]


def incident_row(one: IncidentReport) -> Sequence[str]:
    """Return an incident as a row of :data:`INCIDENT_HEAD`."""
    duration = format_duration(one.duration)
    return (
        format_time(one.opened),
        duration if one.resolved is not None else f"{duration}, still firing",
        printable(f"{one.rule} {one.severity}".strip(), 200),
        printable(one.summary or f"{one.subject}: {one.message}", 500),
        ", ".join(
            f"{printable(fault_words(kind), 100)} {count}"
            for kind, count in sorted(one.faults.items(), key=lambda p: -p[1])
        ),
    )
