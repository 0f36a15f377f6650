"""Rollups: the runs of each canary summed up by hour, and later by quarter of a day, in the transaction of each run.

The counts have columns, so that the availability of a thousand canaries over a month is summed up by SQLite; the rest
is msgpack in a second table, which such a query does not touch.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from streamcanary.model.outcome import Outcome
from streamcanary.model.statistics.rollup import (
    DETAILS_DECODER,
    DETAILS_ENCODER,
    HOUR,
    QUARTER_DAY,
    Rollup,
    RunCounts,
    RunDetails,
    period_start,
)
from streamcanary.store.connection import Connection
from streamcanary.store.tables.damaged_rows import DamagedRows

KEPT_BY_HOUR: Final = 48 * HOUR
"""Seconds for which rollups are kept by hour, at least; then they are merged into quarters of a day."""

KEPT: Final = 35 * 24 * HOUR
"""Seconds for which rollups are kept: a month, and some days to look at it."""

MAX_ROLLUPS: Final = 2_000_000
"""Rollups that are kept, as many as 10,000 canaries need: a clock step can keep them from ageing."""

MAX_PRUNED_PER_CALL: Final = 1_000
"""Rollups that one call of :func:`prune_rollups` merges or removes for each reason, at most."""

MAX_DETAILS_BYTES: Final = 64 * 1024
"""Bytes of the details of a rollup; streamcanary writes no larger ones."""

_MAX_HOURS_PER_QUERY = 100
_MAX_COUNT = 2**53
_INTEGERS = {int}
_NAMES: Final = RunCounts.__struct_fields__
_COLUMNS: Final = ", ".join(_NAMES)
_PERIOD: Final = "CAST(started AS BIGINT), CAST(length AS BIGINT)"  # whatever type damage has given them
_KEY: Final = "canary = ? AND started = ? AND length = ?"
# A damaged count (text, NULL, huge) must not make a write fail; it is checked when it is read.
_ADD_COUNTS: Final = (
    f"INSERT INTO rollups (canary, started, length, {_COLUMNS}) VALUES (?, ?, ?{', ?' * len(_NAMES)})"  # noqa: S608
    " ON CONFLICT (canary, started, length) DO UPDATE SET "
    + ", ".join(f"{name} = coalesce(rollups.{name}, 0) + excluded.{name}" for name in _NAMES)
)
_SET_DETAILS: Final = (
    "INSERT INTO rollup_details (canary, started, length, value) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (canary, started, length) DO UPDATE SET value = excluded.value"
)
_TOTALS: Final = ", ".join(  # as floats: a sum of integers fails if damaged counts overflow
    f"coalesce(sum(CAST({name} AS DOUBLE PRECISION)), 0)" for name in _NAMES
)
_CANARIES: Final = (  # reads one row of each canary; DISTINCT would read all
    "WITH RECURSIVE names(name) AS (SELECT min(canary) FROM rollups UNION ALL"
    " SELECT (SELECT min(canary) FROM rollups WHERE canary > name) FROM names WHERE name IS NOT NULL)"
    " SELECT name FROM names"
)
_OLD: Final = "SELECT canary, started, length FROM rollups WHERE started < ? ORDER BY started LIMIT ?"
_HOURS: Final = f"SELECT canary, started FROM rollups WHERE length = {HOUR} AND started < ? ORDER BY started LIMIT ?"  # noqa: S608

Key = tuple[str, int]
"""Canary and start of an hour."""

Windows = dict[str, tuple[RunCounts, ...]]
"""By canary: the counts since each of several times."""


def add_runs(connection: Connection, outcomes: Iterable[Outcome]) -> None:
    """Add runs to the rollups of their hours, in the order of their ends, within the transaction of the caller.

    Raises:
        sqlite3.Error, psycopg.Error: if they cannot be written.
    """
    groups: dict[Key, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.canary, period_start(outcome.started)), []).append(outcome)
    damaged = DamagedRows("rollup_details")
    for hours in _without_repeated_canaries(groups):
        stored = _stored_details(connection, hours)
        changed = []
        for canary, started in hours:
            if (canary, started) in stored:
                details = _decode(stored[canary, started], canary, damaged) or RunDetails()
            else:
                details = _first_details(connection, canary, started, damaged)
            rollup = Rollup(canary=canary, started=started, length=HOUR, counts=RunCounts(), details=details)
            for outcome in groups[canary, started]:
                rollup.counts.add(outcome)
                rollup.details.add(outcome)
            changed.append(rollup)
        _write(connection, changed)
    damaged.log()


def _without_repeated_canaries(keys: Iterable[Key]) -> Iterator[list[Key]]:
    """Divide hours into lists of bounded length: the details of an hour begin with those of the hour before."""
    some: dict[str, Key] = {}
    for canary, started in keys:
        if canary in some or len(some) == _MAX_HOURS_PER_QUERY:
            yield list(some.values())
            some.clear()
        some[canary] = (canary, started)
    if some:
        yield list(some.values())


def _stored_details(connection: Connection, hours: Iterable[Key]) -> dict[Key, object]:
    """Return the values of those of ``hours`` that have a row."""
    canaries: dict[int, list[str]] = {}
    for canary, started in hours:
        canaries.setdefault(started, []).append(canary)
    found: dict[Key, object] = {}
    for started, names in canaries.items():
        rows = connection.execute(
            "SELECT canary, value FROM rollup_details"  # noqa: S608 - fixed text
            f" WHERE canary IN ({', '.join('?' * len(names))}) AND started = ? AND length = ?",
            (*names, started, HOUR),
        )
        found |= {(canary, started): value for canary, value in rows}
    return found


def _first_details(connection: Connection, canary: str, started: int, damaged: DamagedRows) -> RunDetails:
    """Return the details of a new hour, which know whether the last run of the period before failed."""
    query = "SELECT value FROM rollup_details WHERE canary = ? AND started < ? ORDER BY started DESC LIMIT 1"
    row = connection.execute(query, (canary, started)).fetchone()
    before = None if row is None else _decode(row[0], canary, damaged)
    if before is None:
        return RunDetails()
    return RunDetails(last_failed=before.last_failed, first_last_failed=before.first_last_failed)


def _write(connection: Connection, rollups: Iterable[Rollup]) -> None:
    """Add the counts of ``rollups`` to those in the store, and set their details."""
    by_key = {(rollup.canary, rollup.started, rollup.length): rollup for rollup in rollups}
    counts = [(*key, *msgspec.structs.astuple(rollup.counts)) for key, rollup in by_key.items()]
    connection.executemany(_ADD_COUNTS, counts)
    connection.executemany(
        _SET_DETAILS, [(*key, DETAILS_ENCODER.encode(rollup.details)) for key, rollup in by_key.items()]
    )


def sum_counts(connection: Connection, starts: Iterable[float], canaries: Mapping[str, str] | None = None) -> Windows:
    """Return the counts of each canary in the periods that began at or after each of ``starts``.

    ``canaries`` maps the names under which runs are recorded to the names to return them by, which may be the same for
    two of them (a renamed canary); ``None`` returns all by their names. ``starts`` are seconds since the epoch.

    Raises:
        sqlite3.Error, psycopg.Error: if they cannot be read.
    """
    times = [math.ceil(start) for start in starts]  # an integer, as the column: PostgreSQL would cast the column
    edges = sorted(set(times))
    between = [
        (start, edges[number + 1] if number + 1 < len(edges) else _MAX_COUNT) for number, start in enumerate(edges)
    ]
    found: dict[str, dict[int, RunCounts]] = {}
    for recorded, name in _names(connection, canaries):
        sums = found.setdefault(name, {start: RunCounts() for start in edges})
        later = RunCounts()
        for start, end in reversed(between):
            later.merge(_sum(connection, recorded, start, end))
            sums[start].merge(later)
    return {name: tuple(sums[start] for start in times) for name, sums in found.items()}


def _sum(connection: Connection, canary: str, start: int, end: int) -> RunCounts:
    query = f"SELECT {_TOTALS} FROM rollups WHERE canary = ? AND started >= ? AND started < ?"  # noqa: S608
    row = connection.execute(query, (canary, start, end)).fetchone()
    if (counts := _counts(int(total) if 0 <= total <= _MAX_COUNT else -1 for total in row)) is not None:
        return counts
    counts = RunCounts()  # a row is damaged: leave it out
    for _, started, _, each in read_counts(connection, start, {canary: canary}):
        if started < end:
            counts.merge(each)
    return counts


def first_periods(connection: Connection, canaries: Mapping[str, str]) -> dict[str, int]:
    """Return the start of the first period of each canary that has one; ``canaries`` is as for :func:`sum_counts`.

    Raises:
        sqlite3.Error, psycopg.Error: if they cannot be read.
    """
    found: dict[str, int] = {}
    for recorded, name in canaries.items():
        query = "SELECT min(CAST(started AS BIGINT)) FROM rollups WHERE canary = ?"
        (started,) = connection.execute(query, (recorded,)).fetchone()
        if started is not None:
            found[name] = min(started, found.get(name, started))
    return found


def read_counts(
    connection: Connection,
    since: float,
    canaries: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, int, int, RunCounts]]:
    """Yield canary, start, length and counts of each period since ``since``, by canary and start.

    ``canaries`` is as for :func:`sum_counts`; a period of a renamed canary may come twice. Damaged rows are left out.

    Raises:
        sqlite3.Error, psycopg.Error: if they cannot be read.
    """
    query = f"SELECT {_PERIOD}, {_COLUMNS} FROM rollups WHERE canary = ? AND started >= ?"  # noqa: S608
    for recorded, name in _names(connection, canaries):
        for row in connection.execute(query, (recorded, math.ceil(since))).fetchall():
            if (counts := _counts(row[2:])) is not None:
                yield name, row[0], row[1], counts


def read_rollups(connection: Connection, since: float, canaries: Mapping[str, str] | None = None) -> Iterator[Rollup]:
    """Yield the rollups since ``since`` with their details, by canary and start; as :func:`read_counts` does.

    Raises:
        sqlite3.Error, psycopg.Error: if they cannot be read.
    """
    query = (
        f"SELECT {_PERIOD}, substr(value, 1, {MAX_DETAILS_BYTES + 1}), {_COLUMNS} FROM rollups"  # noqa: S608
        " JOIN rollup_details USING (canary, started, length)"
        " WHERE canary = ? AND started >= ? ORDER BY started, length"
    )
    damaged = DamagedRows("rollups", level=logging.DEBUG)
    for recorded, name in _names(connection, canaries):
        for started, length, value, *values in connection.execute(query, (recorded, math.ceil(since))):
            details, counts = _decode(value, recorded, damaged), _counts(values)
            if details is not None and counts is not None:
                yield Rollup(canary=name, started=started, length=length, counts=counts, details=details)
    damaged.log()


def prune_rollups(connection: Connection, now: float, *, limit: int = MAX_ROLLUPS) -> int:
    """Merge hours that are older than two days into quarters of a day, and delete quarters after 35 days.

    At most the latest ``limit`` rollups stay. Returns the number of rollups that were merged or deleted: at most
    :data:`MAX_PRUNED_PER_CALL` for each reason. The next call goes on.

    Raises:
        sqlite3.Error, psycopg.Error: if they cannot be written.
    """
    changed = _delete_oldest(connection, math.ceil(now - KEPT), MAX_PRUNED_PER_CALL)
    changed += _merge_hours(connection, period_start(now - KEPT_BY_HOUR, QUARTER_DAY))
    if changed >= MAX_PRUNED_PER_CALL:  # the next call goes on; to count two million rows takes as long as all of this
        return changed
    excess = connection.execute("SELECT count(*) FROM rollups").fetchone()[0] - limit
    if excess > 0:
        changed += _delete_oldest(connection, _MAX_COUNT, min(excess, MAX_PRUNED_PER_CALL))
    return changed


def _delete_oldest(connection: Connection, before: int, count: int) -> int:
    """Delete up to ``count`` rollups that began before a time; return how many it were."""
    for table in ("rollup_details", "rollups"):  # the keys are those of the second
        query = f"DELETE FROM {table} WHERE (canary, started, length) IN ({_OLD})"  # noqa: S608 - fixed names
        deleted = connection.execute(query, (before, count)).rowcount
    return deleted


def _merge_hours(connection: Connection, before: int) -> int:
    keys = connection.execute(_HOURS, (before, MAX_PRUNED_PER_CALL)).fetchall()
    quarters: dict[tuple[str, int], list[int]] = {}
    for canary, started in keys:
        quarters.setdefault((canary, period_start(started, QUARTER_DAY)), []).append(started)
    damaged = DamagedRows("rollups")
    for (canary, quarter), hours in quarters.items():
        counts, details = RunCounts(), _details_of(connection, canary, quarter, QUARTER_DAY, damaged) or RunDetails()
        for hour in hours:
            row = connection.execute(f"SELECT {_COLUMNS} FROM rollups WHERE {_KEY}", (canary, hour, HOUR)).fetchone()  # noqa: S608
            if (added := _counts(row)) is not None:
                counts.merge(added)
            if (later := _details_of(connection, canary, hour, HOUR, damaged)) is not None:
                details.merge(later)
            for table in ("rollups", "rollup_details"):
                connection.execute(f"DELETE FROM {table} WHERE {_KEY}", (canary, hour, HOUR))  # noqa: S608 - fixed names
        merged = Rollup(canary=canary, started=quarter, length=QUARTER_DAY, counts=counts, details=details)
        _write(connection, [merged])
    damaged.log()
    return len(keys)


def _details_of(
    connection: Connection, canary: str, started: int, length: int, damaged: DamagedRows
) -> RunDetails | None:
    row = connection.execute(f"SELECT value FROM rollup_details WHERE {_KEY}", (canary, started, length)).fetchone()  # noqa: S608
    return None if row is None else _decode(row[0], canary, damaged)


def _names(connection: Connection, canaries: Mapping[str, str] | None) -> Iterator[tuple[str, str]]:
    """Yield the names under which runs are recorded, and those to return them by."""
    if canaries is not None:
        yield from canaries.items()
        return
    for (name,) in connection.execute(_CANARIES).fetchall():
        if isinstance(name, str):
            yield name, name


def _counts(row: Iterable[object] | None) -> RunCounts | None:
    """Return the counts in a row; ``None`` if it has none, or one is damaged."""
    values: tuple[int, ...] = tuple(row or ())  # type: ignore[arg-type] # checked below
    if set(map(type, values)) != _INTEGERS or min(values) < 0 or max(values) > _MAX_COUNT:
        return None
    return RunCounts(*values)


def _decode(value: object, canary: str, damaged: DamagedRows) -> RunDetails | None:
    if isinstance(value, bytes) and len(value) <= MAX_DETAILS_BYTES:
        try:
            return DETAILS_DECODER.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            damaged.add(canary, str(error))
            return None
    damaged.add(canary, f"it is empty, not bytes, or larger than {MAX_DETAILS_BYTES} bytes")
    return None
