"""The job handler of the writer thread: combines writes into durable transactions, and reopens a broken store."""

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamcanary.model.clock import Clock
from streamcanary.store.errors import StoreError, StoreFailing, StoreLost
from streamcanary.store.pruning import Pruner
from streamcanary.store.sqlite.clean_marker import CleanMarker
from streamcanary.store.sqlite.database_file import (
    FileIdentity,
    OpenDatabase,
    file_identity,
    open_database,
)
from streamcanary.store.sqlite.error_classification import is_corruption, primary_code
from streamcanary.store.sqlite.lock import StoreLock
from streamcanary.store.worker import Job, JobResult

_log = logging.getLogger(__name__)

_STATEMENT_ERROR_CODES = (
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_TOOBIG,
)


class _FileReplaced(OSError):
    """The paths of the store no longer name the files that are open."""


class Writer:
    """Owns the only connection that writes. Only the writer thread uses the private attributes and methods.

    ``database`` is ``None`` if the store could not be opened: each write tries again. ``retention`` is how many seconds
    ended runs are kept. ``is_writable`` is whether the last write succeeded, or failed for another reason than the
    disk. ``loss_count`` counts the losses of earlier data, and ``corrupt_path`` is where the last corrupt store is.
    """

    def __init__(
        self,
        path: Path,
        database: OpenDatabase | None,
        lock: StoreLock,
        clean_marker: CleanMarker,
        clock: Clock,
        retention: float,
    ) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = database and database.connection
        self._identity: FileIdentity | None = database and database.identity
        self._lock = lock
        self._clean_marker = clean_marker
        self._clock = clock
        self._pruner = Pruner(clock, retention)
        self._corruption_count = 0  # corruption errors since the last transaction without one
        self._is_lost = False  # whether data that was written earlier is lost
        self.is_writable = database is not None
        self.loss_count = 0
        self.corrupt_path = database and database.corrupt_path

    @property
    def is_open(self) -> bool:
        """Whether the store is open for writing."""
        return self._connection is not None

    def handle(self, jobs: Sequence[Job[Any]]) -> None:
        """Run all ``jobs`` in one durable transaction or, if that fails, each in a separate one."""
        connection = self._connection or self._open_or_fail(jobs)
        if connection is None:
            return
        try:
            self._lock.acquire()  # costs two stats; without its file the lock would exclude no other process
            results = self._run_transaction(connection, jobs)
        except (StoreError, sqlite3.Error, OSError) as error:
            failure = self._repair(error)
            if len(jobs) > 1 and not isinstance(failure, StoreLost) and self.is_open:
                for job in jobs:
                    self.handle([job])
            else:
                self._fail_jobs(jobs, failure)
            return
        self._corruption_count = 0
        self._set_writable(is_writable=not any(_is_disk_error(result.error) for result in results))
        for job, result in zip(jobs, results, strict=True):
            result.deliver(job, (sqlite3.Error, OSError))
        self._prune_if_due(connection)

    def close(self) -> None:
        """Checkpoint the write-ahead log, close the database, and release the lock."""
        self._close_connection()
        self._lock.release()

    def _run_transaction(self, connection: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> list[JobResult]:
        """Return the result or exception of each job once the transaction is durable."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [self._run_job(connection, job) for job in jobs]
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
        # After the commit, not before: data written to a file that was removed meanwhile must not be acknowledged.
        if file_identity(self._path) != self._identity:
            raise _FileReplaced("the file was removed or replaced")
        return results

    @staticmethod
    def _run_job(connection: sqlite3.Connection, job: Job[Any]) -> JobResult:
        connection.execute("SAVEPOINT job")
        try:
            result = JobResult(job.fn(connection))
        except BaseException as error:  # raised to the caller of the job
            if not connection.in_transaction or is_corruption(error):
                raise  # a full disk can make SQLite roll back the whole transaction, and a corrupt file is replaced
            connection.execute("ROLLBACK TO job")
            result = JobResult(None, error)
        connection.execute("RELEASE job")
        return result

    def _open_or_fail(self, jobs: Sequence[Job[Any]]) -> sqlite3.Connection | None:
        """Reopen the store and return its connection; if that fails or the store was lost, fail the jobs."""
        failure = self._reopen()
        if self._connection is None or isinstance(failure, StoreLost):
            self._fail_jobs(jobs, failure)
            return None
        return self._connection

    def _repair(self, error: StoreError | sqlite3.Error | OSError) -> StoreFailing:
        """Reopen the store if the file caused the error; return the error for the callers."""
        is_replaced = file_identity(self._path) != self._identity
        if not is_replaced and not is_corruption(error):
            return StoreFailing(f"the store {self._path} cannot be written: {error}")
        self._is_lost = self._is_lost or is_replaced
        self._close_connection()
        suspicion = "" if is_replaced else str(error)
        self._corruption_count += not is_replaced
        return self._reopen(f": {error}", suspicion)

    def _reopen(self, reason: str = "", suspicion: str = "") -> StoreFailing:
        """Open the store that is at the path now, or create one; return the error for the callers.

        A store that is suspected of corruption is checked thoroughly; if it passes and causes the error again, it is
        replaced.
        """
        try:
            self._lock.acquire()
            is_unusable = self._corruption_count > 1
            database = open_database(self._path, self._clock.time(), suspicion, is_unusable=is_unusable)
        except StoreFailing as failure:
            return StoreFailing(f"{failure}{reason}")
        except (StoreError, sqlite3.Error, OSError) as error:
            return StoreFailing(f"the store {self._path} is unavailable{reason}; it cannot be reopened: {error}")
        self._clean_marker.read_previous()
        is_same_file = self._identity is None or self._identity[0] == database.identity[0]
        is_lost, self._is_lost = self._is_lost or not is_same_file or database.corrupt_path is not None, False
        self._connection, self._identity = database.connection, database.identity
        self.corrupt_path = database.corrupt_path or self.corrupt_path
        if not is_lost:
            _log.info("store opened", extra={"store": str(self._path)})
            return StoreFailing(f"the store {self._path} had to be reopened{reason}")
        self.loss_count += 1
        _log.warning("store lost", extra={"store": str(self._path), "error": reason.removeprefix(": ")})
        return StoreLost(f"the store {self._path} was lost{reason}; the file that is there now is used instead")

    def _close_connection(self) -> None:
        if self._connection is None:
            return
        with contextlib.suppress(sqlite3.Error):  # what cannot be checkpointed now stays in the log
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._connection = None

    def _fail_jobs(self, jobs: Sequence[Job[Any]], failure: StoreFailing) -> None:
        self._set_writable(is_writable=False)
        for job in jobs:
            job.fail(type(failure)(*failure.args))  # one instance each: a raised exception collects tracebacks

    def _set_writable(self, *, is_writable: bool) -> None:
        """Record whether writes succeed, before the callers continue without the store."""
        self.is_writable = is_writable
        if not is_writable and self._lock.is_held:
            self._clean_marker.mark_unclean()

    def _prune_if_due(self, connection: sqlite3.Connection) -> None:
        """Prune after the callers have their results."""
        if not self._pruner.is_due():
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._pruner.prune(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _log.warning("store pruning failed", extra={"store": str(self._path), "error": str(error)})
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")


def _is_disk_error(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.Error) and primary_code(error) not in _STATEMENT_ERROR_CODES
