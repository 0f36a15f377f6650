"""The job handler of the reader thread: each read sees a consistent snapshot while the writer writes."""

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamcanary.store.errors import StoreFailing
from streamcanary.store.sqlite.database_file import FileIdentity, file_identity, open_read_only
from streamcanary.store.sqlite.migrations import known_version, stored_version
from streamcanary.store.worker import Job

_log = logging.getLogger(__name__)

_PROGRESS_STEPS = 10_000  # instructions of SQLite, some milliseconds, between checks whether the job is abandoned


class Reader:
    """Owns the read-only connection: opens it on first use, and again when the file was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: FileIdentity | None = None

    def handle(self, jobs: Sequence[Job[Any]]) -> None:
        """Run each job in a separate read transaction; abort a job whose caller no longer waits."""
        for job in jobs:
            try:
                result = self._read(job)
            except (sqlite3.Error, OSError) as error:
                self.close()  # reopening is cheap, and correct whatever the cause of the error is
                failure = StoreFailing(f"the store {self._path} cannot be read: {error}")
                failure.__cause__ = error
                job.fail(failure)
            except BaseException as error:  # noqa: BLE001 - raised to the caller
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
                raise sqlite3.DatabaseError(
                    "it has another schema version, or is empty; it is migrated once it can be written"
                )
        return self._connection
