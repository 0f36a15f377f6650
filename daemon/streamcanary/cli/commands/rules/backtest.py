"""The verb ``backtest``: replays recorded runs through the rules and prints the alerts and notifications."""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator

import msgspec

from streamcanary.alerting.notify.message import rfc3339
from streamcanary.alerting.testing.backtest import BacktestAlert, BacktestReport, run_backtest
from streamcanary.alerting.testing.outages import PastOutage
from streamcanary.cli.load_config import UsageError, choose_store, load_config
from streamcanary.cli.table import format_table
from streamcanary.model.clock import SystemClock
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.moment import parse_moment
from streamcanary.model.outcome import Outcome
from streamcanary.store.errors import RunsUnreadable
from streamcanary.store.recorded_runs import read_alert_history, read_runs
from streamcanary.store.tables.history import UnreadableRun

_MAX_LISTED = 10  # unreadable runs with a warning each
_MAX_OUTAGES = 50
_MAX_COLUMNS = 6  # rules in one table
_MAX_NAMES = 2


def main(arguments: argparse.Namespace) -> int:
    """Replay recorded runs; return 0, or 2 if the configuration, the database or a time is invalid."""
    try:
        now = SystemClock().time()
        since = _parse_time("--since", arguments.since, now, -math.inf)
        until = _parse_time("--until", arguments.until, now, math.inf)
        settings = load_config(arguments.config)
        store = choose_store(settings.store, arguments.db)
    except UsageError as error:
        if str(error):
            print(f"streamcanary: {error}", file=sys.stderr)
        return 2
    unreadable = _UnreadableRuns()
    runs = unreadable.skip_unreadable(read_runs(store))
    before_until = (run for run in runs if run.started < until)
    try:
        recorded = read_alert_history(store, since)
        canaries = settings.to_canaries()
        report = run_backtest(settings.alerts, settings.member_instance, canaries, before_until, since, recorded)
    except RunsUnreadable as error:
        print(f"streamcanary: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(msgspec.json.encode({**report.to_dict(), "unread": unreadable.count}).decode())
    else:
        print("\n".join(_report_lines(report)))
    unreadable.print_warnings()
    return 0


class _UnreadableRuns:
    """Counts the runs that cannot be read and keeps the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[UnreadableRun] = []

    def skip_unreadable(self, rows: Iterable[Outcome | UnreadableRun]) -> Iterator[Outcome]:
        """Yield the readable runs of ``rows``, and count the others."""
        for row in rows:
            if isinstance(row, Outcome):
                yield row
                continue
            self.count += 1
            if self.count <= _MAX_LISTED:
                self._first.append(row)

    def print_warnings(self) -> None:
        for row in self._first:
            print(f"warning: skipped run {row.run_id}, which cannot be read: {row.reason}", file=sys.stderr)
        if self.count > _MAX_LISTED:
            print(f"warning: skipped {self.count - _MAX_LISTED} more runs, which cannot be read", file=sys.stderr)


def _parse_time(option: str, text: str | None, now: float, default: float) -> float:
    """Return the time of ``text``, a date and time or a duration before ``now``, in seconds since the epoch."""
    if text is None:
        return default
    try:
        return parse_moment(text, now)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} {error}") from None


def _report_lines(report: BacktestReport) -> Iterator[str]:
    if report.start is None or report.end is None:
        yield "no recorded runs of the configured canaries in this period"
        return
    yield f"{report.runs} runs from {rfc3339(report.start)} to {rfc3339(report.end)}"
    if report.unknown_canary_runs:
        yield f"{report.unknown_canary_runs} runs skipped: the configuration does not have their canaries"
    for start, end in report.gaps:
        yield f"no runs from {rfc3339(start)} to {rfc3339(end)}: assuming that the daemon was not running"
    yield ""
    if report.alerts:
        header = ("FIRED", "DURATION", "ALERT", "SUBJECT", "BAD", "FAULTS")
        yield from format_table([header, *map(_alert_row, report.alerts)])
        if report.omitted_alerts:
            yield f"and {report.omitted_alerts} more"
    else:
        yield "no alert would have fired"
    yield from _outage_lines(report)
    yield ""
    yield from format_table(
        [
            ("RULE", "FIRED", "TOTAL TIME", "PAGES"),
            *(
                (name, str(one.fires), format_duration(one.seconds) if one.fires else "-", str(one.pages))
                for name, one in report.rules.items()
            ),
        ]
    )
    if report.receivers:
        yield ""
        yield from format_table(
            [
                ("RECEIVER", "PAGES", "UPDATES", "RESOLVES"),
                *(
                    (name, str(one.pages), str(one.updates), str(one.resolves))
                    for name, one in report.receivers.items()
                ),
            ]
        )


def _outage_lines(report: BacktestReport) -> Iterator[str]:
    """Yield how soon each rule detected each past outage."""
    shown = report.outages[:_MAX_OUTAGES]
    names = [name for name in report.rules if any(outage.delays.get(name) is not None for outage in report.outages)]
    has_recorded = any(outage.recorded is not None for outage in report.outages)
    for begin in range(0, len(names) or len(shown[:1]), _MAX_COLUMNS):
        some = names[begin : begin + _MAX_COLUMNS]
        rows = [("OUTAGE", "LASTED", "CANARIES", *(["RECORDED"] if has_recorded else []), *some, "FIRST")]
        for outage in shown:
            delays = [_format_delay(outage.recorded)] if has_recorded else []
            delays += [_format_delay(outage.delays.get(name)) for name in some]
            lasted = format_duration(outage.end - outage.began)
            rows.append((rfc3339(outage.began), lasted, _failing(outage), *delays, outage.first or "-"))
        yield from ("", *format_table(rows))
    if not shown:
        return
    if len(report.outages) > len(shown):
        yield f"and {len(report.outages) - len(shown)} more; list them with --json"
    yield "OUTAGE: first failure that an alert is about, and the time from then until each rule fired; - if it did not"
    if has_recorded:
        yield "RECORDED: the same for the first alert of the daemon, with the rules of that time"


def _failing(outage: PastOutage) -> str:
    names = ", ".join(outage.canaries[:_MAX_NAMES])
    return f"{names} and {outage.canary_count - _MAX_NAMES} more" if outage.canary_count > _MAX_NAMES else names


def _format_delay(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)


def _alert_row(alert: BacktestAlert) -> tuple[str, ...]:
    duration = format_duration(alert.seconds) + ("" if alert.resolved is not None else ", still firing")
    counts = f"{alert.bad} of {alert.total}" if alert.total else "-"
    faults = ", ".join(f"{kind} {number}" for kind, number in alert.faults.items())
    return rfc3339(alert.fired), duration, alert.alert, alert.subject, counts, faults or alert.message
