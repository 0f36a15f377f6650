"""Reads recorded runs, their rollups, and alerts in another process than the daemon that records them."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from streamcanary.model.outcome import Outcome
from streamcanary.model.statistics.rollup import Rollup
from streamcanary.model.status.alert_history import PastIncident
from streamcanary.store import rollups
from streamcanary.store.alert_history import MAX_PAGE, read_page
from streamcanary.store.errors import StoreError
from streamcanary.store.history import MAX_RUN_BYTES, RUN_COLUMNS, UnreadableRun, decode_run
from streamcanary.store.sqlite.database_file import open_read_only
from streamcanary.store.sqlite.error_classification import is_corruption, primary_code
from streamcanary.store.sqlite.migrations import APPLICATION_ID, known_version, stored_version

T = TypeVar("T")

_ROWS_PER_TRANSACTION = 500  # a longer transaction would keep the daemon from truncating its write-ahead log
_MAX_BASELINES = 10_000
_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class RunsUnreadable(StoreError):
    """The runs cannot be read; the message says why, and what to do."""


def read_runs(path: Path, *, limit: int | None = None) -> Iterator[Outcome | UnreadableRun]:
    """Yield the runs in the store at ``path``, all or the last ``limit``, in the order of their ends.

    The store is opened read-only; a daemon may have it open and write to it. At most 500 rows are read in one
    transaction and held in memory.

    Raises:
        RunsUnreadable: if the store is missing, empty, of another program, too new, locked, or corrupt.
    """
    try:
        with closing(_open_database(path)) as connection:
            yield from _read_rows(connection, limit)
    except RunsUnreadable:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file can cause almost any error, which the message names
        raise _unreadable_error(path, error) from None


def read_alert_history(path: Path, since: float) -> list[PastIncident]:
    """Return the alerts in the store at ``path`` that fired or resolved after ``since``, the newest first.

    ``since`` is seconds since the epoch. The store has those of 30 days; that of an older daemon has none.

    Raises:
        RunsUnreadable: as :func:`read_runs` does.
    """
    found: list[PastIncident] = []
    try:
        with closing(_open_database(path)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alert_history'").fetchone():
                return []
            page = read_page(connection, limit=MAX_PAGE)
            found += page.incidents
            while page.cursor is not None:
                page = read_page(connection, page.cursor, limit=MAX_PAGE)
                found += page.incidents
    except RunsUnreadable:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise _unreadable_error(path, error) from None
    return [one for one in found if one.resolved is None or max(one.opened, one.resolved) >= since]


def read_baselines(path: Path) -> dict[str, bytes]:
    """Return the rows of what the daemon has learned about its alerts, by key; none of an older daemon.

    Rows after the first 10,000 are left out.

    Raises:
        RunsUnreadable: as :func:`read_runs` does.
    """
    try:
        with closing(_open_database(path)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'baselines'").fetchone():
                return {}
            query = "SELECT key, value FROM baselines WHERE length(value) <= ? LIMIT ?"
            rows = connection.execute(query, (MAX_RUN_BYTES, _MAX_BASELINES)).fetchall()
            return {key: value for key, value in rows if isinstance(key, str) and isinstance(value, bytes)}
    except RunsUnreadable:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise _unreadable_error(path, error) from None


def sum_recorded_counts(
    path: Path, starts: Iterable[float], canaries: Mapping[str, str] | None = None
) -> rollups.Windows:
    """Return the counts of each canary since each of ``starts``: :func:`~streamcanary.store.rollups.sum_counts`.

    A store of an older daemon has none.

    Raises:
        RunsUnreadable: as :func:`read_runs` does.
    """
    return _read_rollups(path, lambda connection: rollups.sum_counts(connection, starts, canaries)) or {}


def read_recorded_rollups(path: Path, since: float, canaries: Mapping[str, str]) -> list[Rollup]:
    """Return the rollups of ``canaries`` since a time: :func:`~streamcanary.store.rollups.read_rollups`.

    All are read in one transaction and held in memory: read those of many canaries in several calls. A store of an
    older daemon has none.

    Raises:
        RunsUnreadable: as :func:`read_runs` does.
    """
    return _read_rollups(path, lambda connection: list(rollups.read_rollups(connection, since, canaries))) or []


def _read_rollups(path: Path, read: Callable[[sqlite3.Connection], T]) -> T | None:
    try:
        with closing(_open_database(path)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'rollups'").fetchone():
                return None
            return read(connection)
    except RunsUnreadable:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise _unreadable_error(path, error) from None


def _read_rows(connection: sqlite3.Connection, limit: int | None) -> Iterator[Outcome | UnreadableRun]:
    end: int = connection.execute("SELECT coalesce(max(id), 0) FROM runs").fetchone()[0]
    last = 0 if limit is None else max(0, end - limit)
    while last < end:
        rows = connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",  # noqa: S608 - fixed text
            (MAX_RUN_BYTES, last, end, _ROWS_PER_TRANSACTION),
        ).fetchall()
        if not rows:
            return
        for number, run_id, value in rows:
            last = number
            yield decode_run(run_id, value)


def _open_database(path: Path) -> sqlite3.Connection:
    path = path.absolute()
    if not path.exists():
        raise RunsUnreadable(f"there is no database {path}; give the file that store.path of the daemon names")
    if not path.is_file():
        raise RunsUnreadable(f"{path} is not a regular file; give the database that store.path of the daemon names")
    if path.stat().st_size == 0:
        raise RunsUnreadable(
            f"{path} is empty: no daemon has used it as its store; give the file that store.path names"
        )
    path = path.resolve()  # the write-ahead log is beside the file itself, not beside a link to it
    connection = open_read_only(path)
    try:
        _check_database(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_database(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise RunsUnreadable(f"{path} is a database of another program; give the one that store.path names")
    version, known = stored_version(connection), known_version()
    if version > known:
        raise RunsUnreadable(
            f"{path} has schema version {version}, and this streamcanary supports versions up to {known}: "
            "use a later streamcanary"
        )


def _unreadable_error(path: Path, error: Exception) -> RunsUnreadable:
    if isinstance(error, sqlite3.Error):
        if primary_code(error) in _BUSY_CODES:
            return RunsUnreadable(
                f"{path} is locked by another program; wait until that program has finished, or end it"
            )
        if is_corruption(error):
            return RunsUnreadable(f"{path} is not a valid database: {error}; give an intact copy")
        if primary_code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return RunsUnreadable(
                f"{path} cannot be opened: {error}; give read permission on it and, if no daemon runs, write "
                "permission on its directory, or copy it to a writable directory"
            )
    reason = getattr(error, "strerror", None) or str(error)
    return RunsUnreadable(f"{path} cannot be read: {reason}")
