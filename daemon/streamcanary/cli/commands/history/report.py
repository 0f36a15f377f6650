"""The verb ``report``: availability, percentiles, faults and incidents of a period, from the store."""

import argparse
import sys
from pathlib import Path

import msgspec

from streamcanary.cli.commands.history.html_report import html_document
from streamcanary.cli.commands.history.markdown_report import markdown_lines
from streamcanary.cli.commands.history.period_report import PeriodReport, canary_report, incident_reports
from streamcanary.cli.load_config import UsageError, choose_store, load_config
from streamcanary.model.clock import SystemClock
from streamcanary.model.config_types.moment import parse_moment
from streamcanary.model.statistics.rollup import HOUR, QUARTER_DAY, RunCounts, period_start
from streamcanary.store.config import StoreConfig
from streamcanary.store.errors import RunsUnreadable
from streamcanary.store.recorded_runs import (
    read_alert_history,
    read_recorded_rollups,
    sum_recorded_counts,
)
from streamcanary.store.tables.rollups import KEPT, KEPT_BY_HOUR

_CANARIES_PER_READ = 50  # of which all rollups are in memory


def main(arguments: argparse.Namespace) -> int:
    """Print the report; return 0, or 2 if an argument or the configuration is invalid, or the store unreadable."""
    try:
        now = SystemClock().time()
        since = _start(arguments.since, now)
        path, names = _store_and_names(arguments)
        report = _read_report(path, since, now, names)
        _write(_encode(report, arguments.format), arguments.output)
    except (UsageError, RunsUnreadable) as error:
        if str(error):
            print(f"streamcanary: {error}", file=sys.stderr)
        return 2
    return 0


def _start(text: str, now: float) -> float:
    """Return the start of the rollup with which the period begins."""
    try:
        since = parse_moment(text, now)
    except ValueError as error:
        raise UsageError(f"--since {text!r} {error}") from None
    if since >= now:
        raise UsageError(f"--since {text!r} is in the future; write a time that has passed")
    if now - since > KEPT:
        raise UsageError(f"--since {text!r} is more than 35 days ago, which is as long as runs are kept")
    return period_start(since, HOUR if now - since <= KEPT_BY_HOUR else QUARTER_DAY)


def _store_and_names(arguments: argparse.Namespace) -> tuple[StoreConfig, dict[str, str] | None]:
    """Return the database, and the names of canaries as they are recorded, with those to print; ``None`` for all."""
    if arguments.config is None:
        if arguments.db is None:
            raise UsageError("give the configuration with -c FILE, or the database with --db FILE or URL")
        return choose_store(StoreConfig(), arguments.db), None
    settings = load_config(arguments.config)
    names = {}
    for canary in settings.to_canaries():
        if canary.renamed_from is not None and canary.renamed_from not in settings.canaries:
            names[canary.renamed_from] = canary.name
        names[canary.name] = canary.name
    return choose_store(settings.store, arguments.db), names


def _read_report(store: StoreConfig, since: float, now: float, names: dict[str, str] | None) -> PeriodReport:
    if names is None:
        recorded_counts = sum_recorded_counts(store, [since])
        names = {name: name for name, (counts,) in sorted(recorded_counts.items()) if counts != RunCounts()}
    shown = list(dict.fromkeys(names.values()))
    canaries = []
    for first in range(0, len(shown), _CANARIES_PER_READ):
        some = shown[first : first + _CANARIES_PER_READ]
        recorded = {name: to for name, to in names.items() if to in some}
        rollups = sorted(read_recorded_rollups(store, since, recorded), key=lambda each: each.started)
        canaries += [
            canary_report(name, (each for each in rollups if each.canary == name), since, now) for name in some
        ]
    incidents = incident_reports(read_alert_history(store, since), now)
    return PeriodReport(since=since, until=now, canaries=tuple(canaries), incidents=incidents)


def _encode(report: PeriodReport, format_name: str) -> bytes:
    if format_name == "json":
        return msgspec.json.encode(report) + b"\n"
    if format_name == "html":
        return html_document(report)
    return "\n".join([*markdown_lines(report), ""]).encode()


def _write(content: bytes, path: Path | None) -> None:
    if path is None or str(path) == "-":
        sys.stdout.write(content.decode())
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another file with --output") from None
