"""Reads the file of the store in another process than the daemon."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from streamcanary.model.config_types.secret import SecretUnreadable
from streamcanary.store.connection import ReadOnlyDatabase
from streamcanary.store.errors import RunsUnreadable, StoreError, StoreMissing
from streamcanary.store.sqlite.database_file import open_read_only
from streamcanary.store.sqlite.error_classification import is_corruption, primary_code
from streamcanary.store.sqlite.migrations import APPLICATION_ID, known_version, stored_version

_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def read_only_file(path: Path) -> Iterator[ReadOnlyDatabase]:
    """Open the file at ``path`` for the time of a ``with`` block. Each statement is a transaction of its own.

    A longer one would keep the daemon from truncating its write-ahead log.

    Raises:
        StoreMissing: if there is no file.
        RunsUnreadable: if it is empty, of another program, too new, locked, or corrupt, now or within the block.
    """
    try:
        with closing(_open_database(path)) as connection:
            names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            yield ReadOnlyDatabase(connection, frozenset(name for (name,) in names))
    except (StoreError, SecretUnreadable):
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file can cause almost any error, which the message names
        raise unreadable_error(path, error) from None


def _open_database(path: Path) -> sqlite3.Connection:
    path = path.absolute()
    if not path.exists():
        raise StoreMissing(f"there is no database {path}; give the file that store.path of the daemon names")
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


def unreadable_error(path: Path, error: Exception) -> RunsUnreadable:
    """Return the error for ``error``, which reading the file at ``path`` raised."""
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
