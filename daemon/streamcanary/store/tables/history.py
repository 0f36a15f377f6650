"""The history of ended runs. Failures are kept longer: people need the first failure of an outage most."""

import json
import logging
from collections.abc import Collection, Container, Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.model.redaction.redactor import scrub
from streamcanary.store.connection import Connection
from streamcanary.store.tables.damaged_rows import DamagedRows

MAX_PRUNED_PER_CALL: Final = 5_000
"""Runs that one call of :func:`prune_runs` removes for each reason, at most: pruning delays the queued writes."""

_FAILED_KINDS = frozenset({OutcomeKind.FAILED, OutcomeKind.FAILED_OVER, OutcomeKind.INTERNAL_ERROR})
_KINDS_WITHOUT_RESULT = frozenset({OutcomeKind.SKIPPED.value, OutcomeKind.INTERNAL_ERROR.value})
_FAILURE_RETENTION_FACTOR = 4  # failures are kept this many times as long
_ROWS_PER_READ = 500  # parameters of one statement
_MAX_LOOKUPS = 100  # each of them is a request to the server
_MAX_RUNS = 200_000  # failures, and as many others

MAX_RUN_BYTES: Final = 1024 * 1024
"""Bytes of one recorded run; streamcanary writes no larger one."""

RUN_COLUMNS: Final = "id, substr(run_id, 1, 100), CASE WHEN length(outcome) <= ? THEN outcome END"
"""The columns that :func:`decode_run` needs; the parameter is :data:`MAX_RUN_BYTES`."""

_MAX_TIME = 4_102_444_800.0  # 2100-01-01: a later time is invalid
_MAX_DURATION = 86_400.0 * 366  # seconds that a run may have taken

_DECODER = msgspec.json.Decoder(Outcome)


class UnreadableRun(Struct, frozen=True):
    """A row that cannot be decoded as a run: its id and the reason, both scrubbed of secrets for display."""

    run_id: str
    reason: str


def record_run(connection: Connection, outcome: Outcome) -> bool:
    """Add a run, and return whether it is new. A run that is recorded already stays unchanged.

    Raises:
        sqlite3.Error, psycopg.Error: if the run cannot be added.
    """
    added = connection.execute(
        "INSERT INTO runs (run_id, canary, kind, started, failed, outcome) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run_id) DO NOTHING",
        (
            outcome.run_id,
            outcome.canary,
            outcome.kind.value,
            outcome.started,
            int(outcome.kind in _FAILED_KINDS),
            encode_run(outcome),
        ),
    )
    return added.rowcount == 1


def recent_runs(connection: Connection, canary: str | None = None, *, limit: int = 100) -> list[Outcome]:
    """Return the last runs of one canary or of all, latest end first.

    Runs that cannot be decoded (damaged, or written by a later version) are logged and left out.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be read.
    """
    where, values = ("", (limit,)) if canary is None else ("WHERE canary = ?", (canary, limit))
    rows = connection.execute(
        f"SELECT {RUN_COLUMNS} FROM runs {where} ORDER BY id DESC LIMIT ?",  # noqa: S608 - fixed text
        (MAX_RUN_BYTES, *values),
    )
    outcomes = []
    damaged = DamagedRows("runs", level=logging.DEBUG)
    for _, run_id, value in rows:
        outcome = decode_run(run_id, value)
        if isinstance(outcome, Outcome):
            outcomes.append(outcome)
        else:
            damaged.add(outcome.run_id, outcome.reason)
    damaged.log()
    return outcomes


def runs_of(
    connection: Connection,
    names: Collection[str],
    *,
    before: int | None,
    limit: int,
    kinds: Collection[str] = (),
) -> tuple[list[Outcome], int | None]:
    """Return up to ``limit`` runs of a canary before the row ``before`` (``None``: the last ones), latest end first.

    ``names`` are those under which its runs are recorded. Only those of ``kinds``, if there are any. The second value
    is the row before which there may be more runs, ``None`` if there are none. Runs that cannot be decoded are left
    out.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be read.
    """
    condition = f"AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
    found: list[tuple[int, object, object]] = []
    for name in names:  # one by one: for several names at once, SQLite would read and sort all their runs
        found += connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE canary = ? AND id < ? {condition} ORDER BY id DESC LIMIT ?",  # noqa: S608 - fixed text
            (MAX_RUN_BYTES, name, 2**63 - 1 if before is None else before, *kinds, limit),
        )
    rows = sorted(found, key=lambda row: row[0], reverse=True)[:limit]
    runs = (decode_run(*row[1:]) for row in rows)
    return [run for run in runs if isinstance(run, Outcome)], rows[-1][0] if len(rows) == limit else None


def last_runs_of(connection: Connection, canaries: Iterable[str], limit: int) -> dict[str, list[Outcome]]:
    """Return the last ``limit`` runs of each of ``canaries``, in the order of their ends.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be read.
    """
    return {name: runs_of(connection, [name], before=None, limit=limit)[0][::-1] for name in canaries}


def find_run(connection: Connection, run_id: str) -> Outcome | None:
    """Return the run with this id; ``None`` if it is not recorded, or cannot be decoded.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be read.
    """
    row = connection.execute(
        f"SELECT {RUN_COLUMNS} FROM runs WHERE run_id = ?",  # noqa: S608 - fixed text
        (MAX_RUN_BYTES, run_id),
    ).fetchone()
    run = None if row is None else decode_run(*row[1:])
    return run if isinstance(run, Outcome) else None


def state_start(connection: Connection, canaries: Iterable[str], kinds: Collection[str], limit: int) -> float | None:
    """Return when the last runs of a canary that all have an outcome of ``kinds`` began, in seconds since the epoch.

    ``canaries`` are the name of the canary and the former ones, the latest first. Skipped runs and internal errors say
    nothing. At most the last ``limit`` runs under each name are read: the state may have begun before. ``None`` if the
    last run has another outcome, or if there is none.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be read.
    """
    start: float | None = None
    marks = ", ".join("?" * len(kinds))
    without_result = ", ".join("?" * len(_KINDS_WITHOUT_RESULT))
    last_runs = "(SELECT id, started, kind FROM runs WHERE canary = ? AND id > ? ORDER BY id DESC LIMIT ?) AS last_runs"
    for canary in canaries:
        other = connection.execute(
            f"SELECT id FROM {last_runs} WHERE kind NOT IN ({marks}, {without_result}) LIMIT 1",  # noqa: S608 - fixed text
            (canary, -1, limit, *kinds, *_KINDS_WITHOUT_RESULT),
        ).fetchone()
        first = connection.execute(
            f"SELECT started FROM {last_runs} WHERE kind IN ({marks}) ORDER BY id LIMIT 1",  # noqa: S608 - fixed text
            (canary, -1 if other is None else other[0], limit, *kinds),
        ).fetchone()
        start = first[0] if first is not None and isinstance(first[0], float) else start
        if other is not None:
            break
    return start


def runs_after(connection: Connection, last: int, limit: int) -> tuple[list[Outcome], int | None]:
    """Return up to ``limit`` runs after the row ``last``, in the order of their ends, and the last row of these.

    The row is ``None`` if there are no more. Runs that cannot be decoded are left out.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be read.
    """
    rows = connection.execute(
        f"SELECT {RUN_COLUMNS} FROM runs WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608 - fixed text
        (MAX_RUN_BYTES, last, limit),
    ).fetchall()
    runs = (decode_run(*row[1:]) for row in rows)
    return [run for run in runs if isinstance(run, Outcome)], rows[-1][0] if rows else None


def new_runs(
    connection: Connection, after: int, known: Container[str], limit: int
) -> tuple[list[Outcome], list[tuple[int, str]]]:
    """Return the runs in the first ``limit`` rows after the row ``after`` that are not ``known`` by their ids.

    The second value is the row and the run id of each of these rows, also of known and unreadable runs.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be read.
    """
    rows = connection.execute(
        "SELECT id, substr(run_id, 1, 100) FROM runs WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    ).fetchall()
    unknown = [row for row, run_id in rows if run_id not in known]
    runs: list[Outcome] = []
    for first in range(0, len(unknown), _ROWS_PER_READ):
        some = unknown[first : first + _ROWS_PER_READ]
        found = connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE id IN ({', '.join('?' * len(some))}) ORDER BY id",  # noqa: S608 - fixed text
            (MAX_RUN_BYTES, *some),
        )
        runs += [run for row in found if isinstance(run := decode_run(*row[1:]), Outcome)]
    return runs, rows


def row_before_last(connection: Connection, count: int) -> int:
    """Return the row after which there are the last ``count`` runs, or about as many if rows were deleted.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be read.
    """
    end: int = connection.execute("SELECT coalesce(max(id), 0) FROM runs").fetchone()[0]
    return max(0, end - count)


def last_answers(connection: Connection, canaries: Iterable[str]) -> dict[str, Outcome]:
    """Return the last run of each of ``canaries`` that the primary answered (``ok`` or ``slow``), by canary.

    A canary without such a run, or whose last one cannot be decoded, is left out.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be read.
    """
    return _last_of(connection, canaries, {OutcomeKind.OK, OutcomeKind.SLOW})


def last_outcomes(connection: Connection, canaries: Iterable[str]) -> dict[str, Outcome]:
    """Return the last run of each of ``canaries``, also a skipped one, by canary.

    A canary without a run, or whose last one cannot be decoded, is left out.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be read.
    """
    names, found = list(canaries), {}
    for first in range(0, len(names), _ROWS_PER_READ):
        some = names[first : first + _ROWS_PER_READ]
        # Each is looked up in the index: without conditions on other columns, no other row of a canary is read.
        last = "SELECT (SELECT max(id) FROM runs WHERE canary = asked.column1) FROM (VALUES {}) AS asked"
        query = f"SELECT canary, {RUN_COLUMNS} FROM runs WHERE id IN ({last.format(', '.join(['(?)'] * len(some)))})"  # noqa: S608 - fixed text
        for canary, _, run_id, value in connection.execute(query, (MAX_RUN_BYTES, *some)):
            if isinstance(outcome := decode_run(run_id, value), Outcome):
                found[canary] = outcome
    return found


def last_runs(connection: Connection, canaries: Iterable[str]) -> dict[str, Outcome]:
    """Return the last run of each of ``canaries`` that was not skipped, by canary.

    A canary without such a run, or whose last one cannot be decoded, is left out.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be read.
    """
    return _last_of(connection, canaries, set(OutcomeKind) - {OutcomeKind.SKIPPED})


def _last_of(connection: Connection, canaries: Iterable[str], kinds: Collection[OutcomeKind]) -> dict[str, Outcome]:
    """Return the last run of each canary. A few are looked up in the index, one by one; for many, all runs are read."""
    names, found = list(canaries), {}
    size = 1 if len(names) <= _MAX_LOOKUPS else _ROWS_PER_READ
    for first in range(0, len(names), size):
        rows = _last_rows(connection, names[first : first + size], [kind.value for kind in kinds])
        for canary, _, run_id, value in rows:
            if isinstance(outcome := decode_run(run_id, value), Outcome):
                found[canary] = outcome
    return found


def _last_rows(connection: Connection, canaries: Sequence[str], kinds: Sequence[str]) -> Iterable[Any]:
    """Return the row of the last run of each of ``canaries``: the canary, and :data:`RUN_COLUMNS`."""
    columns, marks = f"canary, {RUN_COLUMNS}", ", ".join("?" * len(kinds))
    if len(canaries) == 1:
        query = f"SELECT {columns} FROM runs WHERE kind IN ({marks}) AND canary = ? ORDER BY id DESC LIMIT 1"  # noqa: S608 - fixed text
    else:
        names = ", ".join("?" * len(canaries))
        last = f"SELECT max(id) FROM runs WHERE kind IN ({marks}) AND canary IN ({names}) GROUP BY canary"  # noqa: S608 - fixed text
        query = f"SELECT {columns} FROM runs WHERE id IN ({last})"  # noqa: S608 - fixed text
    return connection.execute(query, (MAX_RUN_BYTES, *kinds, *canaries))


def decode_run(run_id: object, value: object) -> "Outcome | UnreadableRun":
    """Return the run in a row of :data:`RUN_COLUMNS`, or why it cannot be read."""
    if not isinstance(value, (bytes, str)):
        reason = f"it is empty, not text, or larger than {MAX_RUN_BYTES} bytes"
    else:
        try:
            outcome = _DECODER.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            reason = str(error)
        else:
            times = (outcome.started, outcome.scheduled, *(attempt.started for attempt in outcome.attempts))
            durations = (outcome.duration, *(attempt.duration for attempt in outcome.attempts))
            if all(0 <= at < _MAX_TIME for at in times) and all(0 <= each < _MAX_DURATION for each in durations):
                return outcome
            reason = "one of its times or durations is out of range"
    return UnreadableRun(scrub(str(run_id), limit=100), scrub(reason, limit=200))


def prune_runs(connection: Connection, now: float, retention: float, *, limit: int = _MAX_RUNS) -> int:
    """Delete runs that started more than ``retention`` seconds before ``now``, failures after four times as long.

    At most the last ``limit`` failures and the last ``limit`` others stay, because a clock step can keep runs from
    ageing. Returns the number of deleted runs: at most :data:`MAX_PRUNED_PER_CALL` failures and as many others, for
    each of the two reasons. The next call deletes the rest.

    Raises:
        sqlite3.Error, psycopg.Error: if the runs cannot be deleted.
    """
    removed = 0
    for failed, lifetime in ((0, retention), (1, _FAILURE_RETENTION_FACTOR * retention)):
        removed += connection.execute(
            "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE failed = ? AND started < ? LIMIT ?)",
            (failed, now - lifetime, MAX_PRUNED_PER_CALL),
        ).rowcount
        count = connection.execute("SELECT count(*) FROM runs WHERE failed = ?", (failed,)).fetchone()[0]
        if count > limit:
            removed += connection.execute(
                "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE failed = ? ORDER BY id LIMIT ?)",
                (failed, min(count - limit, MAX_PRUNED_PER_CALL)),
            ).rowcount
    return removed


def encode_run(outcome: Outcome) -> bytes:
    """Return a run as JSON, which every version of streamcanary can read."""
    try:
        return msgspec.json.encode(outcome)
    except UnicodeEncodeError:  # a lone surrogate in the response of a provider must not lose the run
        return json.dumps(msgspec.to_builtins(outcome), ensure_ascii=False).encode("utf-8", "replace")
