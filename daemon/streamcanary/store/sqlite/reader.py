"""What the reader thread does: one consistent look at the store at a time, while the writer writes."""

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamcanary.store.errors import StoreFailing
from streamcanary.store.sqlite.database_file import FileIdentity, file_identity, open_read_only
from streamcanary.store.sqlite.migrations import known_version, stored_version
from streamcanary.store.sqlite.worker import Job

_log = logging.getLogger(__name__)

_PROGRESS_STEPS = 10_000  # of SQLite's machine, some milliseconds: how often a read looks whether it is still wanted


class Reader:
    """Owns the connection that can only read: opened when first used, and again when the file is another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: FileIdentity | None = None

    def handle(self, jobs: Sequence[Job[Any]]) -> None:
        """Do each job in a read transaction of its own; one that nobody waits for any more is broken off."""
        for job in jobs:
            try:
                result = self._read(job)
            except (sqlite3.Error, OSError) as error:
                self.close()  # a fresh look at the file costs less than being wrong about why it failed
                failure = StoreFailing(f"the store {self._path} cannot be read: {error}")
                failure.__cause__ = error
                job.fail(failure)
            except BaseException as error:  # noqa: BLE001 - it goes to whoever asked
                job.fail(error)
            else:
                job.future.set_result(result)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _read(self, job: Job[Any]) -> Any:
        connection = self._open_connection()
        connection.set_progress_handler(lambda: job.is_abandoned, _PROGRESS_STEPS)
        connection.execute("BEGIN")
        try:
            return job.fn(connection)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _open_connection(self) -> sqlite3.Connection:
        identity = file_identity(self._path)
        if self._connection is None or identity != self._identity:
            self.close()
            self._connection = open_read_only(self._path)
            self._identity = identity
            if stored_version(self._connection) != known_version():
                raise sqlite3.DatabaseError("it is of another version, or empty, until it can be written")
        return self._connection
