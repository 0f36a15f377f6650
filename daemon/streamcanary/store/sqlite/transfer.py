"""The file of the store as the source or the target of a copy. Its lock is held meanwhile."""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streamcanary.model.clock import Clock
from streamcanary.store.connection import Connection
from streamcanary.store.errors import StoreFailing, StoreMissing, StoreUnwritable
from streamcanary.store.sqlite.clean_marker import CleanMarker
from streamcanary.store.sqlite.database_file import check_path, open_database
from streamcanary.store.sqlite.lock import StoreLock
from streamcanary.store.sqlite.migrations import known_version, stored_version
from streamcanary.store.sqlite.read_only import read_only_file, unreadable_error

if TYPE_CHECKING:
    from streamcanary.store.transfer import Rows, Table


class _File:
    """An open file within a transaction."""

    unevaluated_runs = 0  # a daemon evaluates a run before it records it

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @property
    def connection(self) -> Connection:
        """The connection."""
        return self._connection

    def rows(self, table: "Table") -> "Rows":
        """Yield the rows of a table as they are read.

        Raises:
            RunsUnreadable: if they cannot be read.
        """
        query = f"SELECT {table.column_list} FROM {table.name} ORDER BY {table.order}"  # noqa: S608 - fixed names
        try:
            yield from self._connection.execute(query)
        except sqlite3.Error as error:
            raise unreadable_error(self._path, error) from None

    def check_unused(self) -> None:
        """Do nothing: the lock is held."""

    def finish(self) -> None:
        """Commit; the next run gets the number after the highest one."""
        self._connection.execute("COMMIT")


@contextmanager
def read_file(path: Path) -> Iterator[_File]:
    """Open the file at ``path`` for the time of a ``with`` block.

    Raises:
        StoreMissing: if there is none.
        StoreLocked: if a daemon uses it.
        StoreUnwritable: if it has another schema version, or a daemon could not save its last changes in it.
        RunsUnreadable: if it is of another program, too new, or corrupt.
    """
    path = path.absolute()
    if not path.exists():
        raise StoreMissing(f"there is no database {path}; give the file that store.path of the daemon names")
    with _locked(path.resolve()), read_only_file(path) as database:
        connection = database.connection
        if not isinstance(connection, sqlite3.Connection):
            raise TypeError("not a connection of SQLite")
        version = stored_version(connection)
        if version != known_version():
            raise StoreUnwritable(
                f"the store {path} has schema version {version} instead of {known_version()}: start its daemon once, "
                "which migrates it, and stop it"
            )
        marker = CleanMarker(path.resolve())
        marker.read_previous()
        if marker.was_left_unclean:
            raise StoreUnwritable(
                f"the store {path} lacks the last changes of its daemon, whose disk failed: start the daemon once, "
                "which completes it, and stop it"
            )
        connection.execute("BEGIN")
        yield _File(path, connection)


@contextmanager
def write_file(path: Path, clock: Clock) -> Iterator[_File]:
    """Open or create the file at ``path`` for the time of a ``with`` block.

    Raises:
        StoreLocked: if a daemon uses it.
        StoreTooNew: if a later version has written it.
        StoreUnwritable: if ``path`` cannot hold a store.
        StoreFailing: if the disk is full, read-only, or failing.
    """
    path = check_path(path.absolute())
    with _locked(path), closing(open_database(path, clock.time()).connection) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield _File(path, connection)
        except sqlite3.Error as error:
            raise StoreFailing(f"the store {path} cannot be written: {error}") from None
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = StoreLock(path)
    try:
        lock.acquire()
        yield
    finally:
        lock.release()
