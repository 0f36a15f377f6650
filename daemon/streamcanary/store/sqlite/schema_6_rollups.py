"""Step 6 of the migrations: creates the rollups, and fills them from the recorded runs."""

import sqlite3
from typing import Final

import msgspec

from streamcanary.model.outcome import Outcome
from streamcanary.model.statistics.rollup import DETAILS_ENCODER, HOUR, RunCounts, RunDetails, period_start

_TABLES: Final = (
    """
    CREATE TABLE rollups (
        canary TEXT, started INTEGER, length INTEGER,
        ok INTEGER, slow INTEGER, failed_over INTEGER, failed INTEGER, internal_error INTEGER, skipped INTEGER,
        first_attempts_failed INTEGER,
        PRIMARY KEY (canary, started, length)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX rollups_by_age ON rollups (started)",
    "CREATE INDEX rollups_of_hours ON rollups (started) WHERE length = 3600",
    # with a rowid: without one, a value over 1 kB would take a page of its own
    """
    CREATE TABLE rollup_details (
        canary TEXT, started INTEGER, length INTEGER,
        value BLOB,                   -- msgpack
        PRIMARY KEY (canary, started, length)
    )
    """,
)
_MAX_RUNS: Final = 400_000  # that are read, the latest; as many as a store has
_MAX_BYTES: Final = 1024 * 1024  # of a run
_MAX_PERIODS: Final = 20_000  # in memory
_DECODER = msgspec.json.Decoder(Outcome)

Periods = dict[tuple[str, int], tuple[RunCounts, RunDetails]]
"""Counts and details by canary and start of the hour."""


def create_rollups(connection: sqlite3.Connection) -> None:
    """Create the tables, and add the recorded runs, within the caller's transaction.

    Failed runs from before the first run that succeeded are left out: the store keeps them longer than the others, so
    that they say nothing about the rate of failures. So are runs that cannot be read.

    Raises:
        sqlite3.Error: if the database cannot be read or written.
    """
    for statement in _TABLES:
        connection.execute(statement)
    first, last = connection.execute("SELECT min(id) FILTER (WHERE failed = 0), max(id) FROM runs").fetchone()
    if first is None:
        return
    periods: Periods = {}
    latest: dict[str, RunDetails] = {}  # by canary
    rows = connection.execute(
        "SELECT outcome FROM runs WHERE id >= ? AND length(outcome) <= ? ORDER BY id",
        (max(first, last - _MAX_RUNS + 1), _MAX_BYTES),
    )
    for (value,) in rows:
        if (outcome := _decode(value)) is None:
            continue
        key = outcome.canary, period_start(outcome.started)
        if key not in periods:
            if len(periods) >= _MAX_PERIODS:
                _write(connection, periods)
                periods.clear()
            before = latest.get(outcome.canary, RunDetails())
            details = RunDetails(last_failed=before.last_failed, first_last_failed=before.first_last_failed)
            periods[key] = RunCounts(), details
        counts, latest[outcome.canary] = periods[key]
        counts.add(outcome)
        latest[outcome.canary].add(outcome)
    _write(connection, periods)


def _write(connection: sqlite3.Connection, periods: Periods) -> None:
    """Add periods; of one that was written before (half of its runs are in it), the first part stays."""
    connection.executemany(
        "INSERT OR IGNORE INTO rollups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((*key, HOUR, *msgspec.structs.astuple(counts)) for key, (counts, _) in periods.items()),
    )
    connection.executemany(
        "INSERT OR IGNORE INTO rollup_details VALUES (?, ?, ?, ?)",
        ((*key, HOUR, DETAILS_ENCODER.encode(details)) for key, (_, details) in periods.items()),
    )


def _decode(value: object) -> Outcome | None:
    """Return the run that ``value`` holds; ``None`` for one that is damaged."""
    try:
        outcome = _DECODER.decode(value)  # type: ignore[arg-type] # a damaged row may have any type
    except (msgspec.DecodeError, TypeError, UnicodeError, RecursionError):
        return None
    return outcome if 0 <= outcome.started < 4_102_444_800 else None  # until 2100
