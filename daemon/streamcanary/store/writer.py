"""What the writer thread does: durable transactions, several writes in one, and mending what can be mended."""

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from streamcanary.model.clock import Clock
from streamcanary.store import history
from streamcanary.store.clean_marker import Note
from streamcanary.store.database_file import Identity, Opened, identify, is_corruption, open_file
from streamcanary.store.error_classification import primary_code
from streamcanary.store.errors import StoreError, StoreFailing, StoreLost
from streamcanary.store.lock import Lock
from streamcanary.store.worker import Job

_log = logging.getLogger(__name__)

_PRUNE_EVERY = 600.0  # seconds
_STATEMENT_AT_FAULT = (
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_TOOBIG,
)


class _Answer(NamedTuple):
    """What a job returned, or the error it raised."""

    value: Any
    error: BaseException | None = None


class _Moved(OSError):
    """The names of the store no longer stand for the files that are open."""


class Writer:
    """Owns the one connection that writes. Everything that begins with an underscore is the thread's own.

    ``opened`` is ``None`` for a store that could not be opened: each write tries it again. ``keep`` is how many seconds
    ended runs are kept. ``writable`` is whether the last write succeeded, or failed for a reason that is not the
    disk's; ``losses`` counts how often what was written before was lost, and ``set_aside`` is where a corrupt store
    went last.
    """

    def __init__(self, path: Path, opened: Opened | None, lock: Lock, note: Note, clock: Clock, keep: float) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = opened and opened.connection
        self._identity: Identity | None = opened and opened.identity
        self._lock = lock
        self._note = note
        self._clock = clock
        self._keep = keep
        self._lost = False  # whether what was written before is out of reach
        self._prune_due = clock.monotonic()  # at once: a daemon that keeps restarting prunes, too
        self.writable = opened is not None
        self.losses = 0
        self.set_aside = opened and opened.set_aside

    @property
    def opened(self) -> bool:
        """Whether there is a store to write to."""
        return self._connection is not None

    def handle(self, jobs: Sequence[Job[Any]]) -> None:
        """Do all of ``jobs`` in one durable transaction, or, if that cannot be, each in one of its own."""
        connection = self._connection or self._open_for(jobs)
        if connection is None:
            return
        try:
            self._lock.acquire()  # costs two stats: without its file the lock would keep nobody away
            answers = self._transact(connection, jobs)
        except (StoreError, sqlite3.Error, OSError) as error:
            failure = self._mend(error)
            if len(jobs) > 1 and not isinstance(failure, StoreLost) and self.opened:
                for job in jobs:
                    self.handle([job])
            else:
                self._fail(jobs, failure)
            return
        self._tell(writable=not any(_is_disk_trouble(answer.error) for answer in answers))
        for job, answer in zip(jobs, answers, strict=True):
            _answer(job, answer)
        self._prune_if_due(connection)

    def close(self) -> None:
        """Move the log into the database, close it, and give the lock back."""
        self._drop()
        self._lock.release()

    def _transact(self, connection: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> list[_Answer]:
        """Return what each job returned or raised, once that is durable."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            answers = [self._do(connection, job) for job in jobs]
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
        # After the commit, not before: what was written while the file went away must not be acknowledged.
        if identify(self._path) != self._identity:
            raise _Moved("the file was removed or replaced")
        return answers

    @staticmethod
    def _do(connection: sqlite3.Connection, job: Job[Any]) -> _Answer:
        connection.execute("SAVEPOINT job")
        try:
            answer = _Answer(job.fn(connection))
        except BaseException as error:  # it becomes the answer to whoever asked
            if not connection.in_transaction:
                raise  # a full disk can make SQLite roll back everything, not this job alone
            connection.execute("ROLLBACK TO job")
            answer = _Answer(None, error)
        connection.execute("RELEASE job")
        return answer

    def _open_for(self, jobs: Sequence[Job[Any]]) -> sqlite3.Connection | None:
        """Return the store, open again; if that fails, or it was lost, tell those who wait."""
        failure = self._reopen()
        if self._connection is None or isinstance(failure, StoreLost):
            self._fail(jobs, failure)
            return None
        return self._connection

    def _mend(self, error: StoreError | sqlite3.Error | OSError) -> StoreFailing:
        """Open the store again if the file is at fault; return what to tell those who wait."""
        moved = identify(self._path) != self._identity
        if not moved and not is_corruption(error):
            return StoreFailing(f"the store {self._path} cannot be written: {error}")
        self._lost = self._lost or moved
        self._drop()
        return self._reopen(f": {error}")

    def _reopen(self, reason: str = "") -> StoreFailing:
        """Open whatever is at the path now, or a fresh store; return what to tell those who wait."""
        try:
            self._lock.acquire()
            opened = open_file(self._path, self._clock.time())
        except StoreFailing as failure:
            return StoreFailing(f"{failure}{reason}")
        except (StoreError, sqlite3.Error, OSError) as error:
            return StoreFailing(f"the store {self._path} is out of reach{reason}; it cannot be opened again: {error}")
        self._note.look()
        known = self._identity is None or self._identity[0] == opened.identity[0]
        lost, self._lost = self._lost or not known or opened.set_aside is not None, False
        self._connection, self._identity = opened.connection, opened.identity
        self.set_aside = opened.set_aside or self.set_aside
        if not lost:
            _log.info("the store %s is open", self._path)
            return StoreFailing(f"the store {self._path} had to be opened again{reason}")
        self.losses += 1
        _log.warning("the store %s was lost%s; the one that is there now is used", self._path, reason)
        return StoreLost(f"the store {self._path} was lost{reason}; the one that is there now is used from here on")

    def _drop(self) -> None:
        if self._connection is None:
            return
        with contextlib.suppress(sqlite3.Error):  # what cannot be moved into the database now stays in the log
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._connection = None

    def _fail(self, jobs: Sequence[Job[Any]], failure: StoreFailing) -> None:
        self._tell(writable=False)
        for job in jobs:
            job.fail(type(failure)(*failure.args))  # one each: a raised exception collects tracebacks

    def _tell(self, *, writable: bool) -> None:
        """Take note whether writes succeed, before those who wait go on without them."""
        self.writable = writable
        if not writable and self._lock.held:
            self._note.empty()

    def _prune_if_due(self, connection: sqlite3.Connection) -> None:
        """Forget old runs, after those who wait have their answers; a backlog is worked off in several goes."""
        now = self._clock.monotonic()
        if now < self._prune_due:
            return
        self._prune_due = now + _PRUNE_EVERY
        try:
            connection.execute("BEGIN IMMEDIATE")
            removed = history.prune(connection, self._clock.time(), self._keep)
            connection.execute("COMMIT")
            if removed >= history.PRUNED_AT_ONCE:
                self._prune_due = now
        except sqlite3.Error as error:
            _log.warning("the store %s cannot forget old runs: %s", self._path, error)
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")


def _answer(job: Job[Any], answer: _Answer) -> None:
    if answer.error is None:
        job.future.set_result(answer.value)
    elif isinstance(answer.error, (sqlite3.Error, OSError)):
        failure = StoreFailing(f"the store did not take it: {answer.error}")
        failure.__cause__ = answer.error
        job.fail(failure)
    else:
        job.fail(answer.error)


def _is_disk_trouble(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.Error) and primary_code(error) not in _STATEMENT_AT_FAULT
