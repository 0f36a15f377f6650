"""SQLite as the database of the store: one thread writes, another reads, so that the event loop never blocks on it."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self, TypeVar

from streamcanary.model.clock import Clock
from streamcanary.store.connection import Connection
from streamcanary.store.errors import StoreFailing
from streamcanary.store.sqlite.clean_marker import CleanMarker
from streamcanary.store.sqlite.database_file import OpenDatabase, check_path, open_database, write_probe
from streamcanary.store.sqlite.error_classification import is_corruption
from streamcanary.store.sqlite.lock import StoreLock
from streamcanary.store.sqlite.reader import Reader
from streamcanary.store.sqlite.writer import Writer
from streamcanary.store.worker import MAX_QUEUED_READS, MAX_QUEUED_WRITES, MAX_WRITES_PER_COMMIT, Worker

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MEDIUM: Final = "the disk"


class SqliteBackend:
    """The SQLite file at ``path``. Created by :meth:`open`; :meth:`close` may be called twice."""

    def __init__(
        self, path: Path, database: OpenDatabase | None, lock: StoreLock, clock: Clock, retention: float, timeout: float
    ) -> None:
        self.path = path
        self._clean_marker = CleanMarker(path)
        if database is not None:
            self._clean_marker.read_previous()
        self._writer = Writer(path, database, lock, self._clean_marker, clock, retention)
        self._write_worker = Worker(
            "writer",
            self._writer,
            medium=_MEDIUM,
            max_batch=MAX_WRITES_PER_COMMIT,
            max_queued=MAX_QUEUED_WRITES,
            timeout=timeout,
        )
        self._read_worker = Worker(
            "reader", Reader(path), medium=_MEDIUM, max_batch=1, max_queued=MAX_QUEUED_READS, timeout=timeout
        )

    @classmethod
    def open(cls, path: Path, clock: Clock, *, retention: float, timeout: float) -> Self:
        """Open or create the database at ``path`` and acquire its lock. Blocks.

        A full, read-only or failing disk raises no error here: each read and write tries to open the database again.
        ``retention`` is how many seconds ended runs are kept, ``timeout`` how many a read or write waits for the disk.

        Raises:
            StoreUnwritable: if ``path`` cannot hold a store, or permissions forbid it.
            StoreLocked: if another daemon uses the store.
            StoreTooNew: if a later version has written the store.
        """
        path = check_path(path.absolute())
        lock = StoreLock(path)
        database = None
        try:
            lock.acquire()
            database = open_database(path, clock.time())
        except StoreFailing as failure:
            # At debug level: the first read or write fails with the same reason, and its caller reports it.
            _log.debug("store open failed", extra={"store": str(path), "error": str(failure)})
        except BaseException:
            lock.release()
            raise
        return cls(path, database, lock, clock, retention, timeout)

    @property
    def location(self) -> str:
        """The path of the database."""
        return str(self.path)

    @property
    def corrupt_path(self) -> Path | None:
        """The path to which the last corrupt store was renamed, at :meth:`open` or later; ``None`` if none was."""
        return self._writer.corrupt_path

    @property
    def loss_count(self) -> int:
        """How many times the file was lost since the start."""
        return self._writer.loss_count

    @property
    def may_be_incomplete(self) -> bool:
        """Whether the clean marker says that an earlier process could not save all changes."""
        return self._clean_marker.was_left_unclean

    def is_writable(self) -> bool:
        """Return whether the last write succeeded within the timeout."""
        return self._writer.is_writable and not self._write_worker.is_stuck

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in the writer thread; queued writes share a commit."""
        return await self._write_worker.submit(fn)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in the reader thread. Corruption that it meets is repaired before the error is raised."""
        if not self._writer.is_open:
            await self.probe()  # opens the store; a store that cannot be written may still be readable
        try:
            return await self._read_worker.submit(fn)
        except StoreFailing as failure:
            if failure.__cause__ is not None and is_corruption(failure.__cause__):
                await self._report_corruption(str(failure.__cause__))
            raise

    async def probe(self) -> bool:
        """Write and sync a page that stays unchanged, and return :meth:`is_writable`."""
        try:
            await self.write(write_probe)
        except StoreFailing as error:
            _log.debug("store probe failed", extra={"store": str(self.path), "error": str(error)})
            return False
        return self.is_writable()

    async def mark_complete(self) -> None:
        """Write the clean marker, unless it is written."""
        if not self._clean_marker.is_clean:
            with contextlib.suppress(StoreFailing):  # all data is saved; an outdated marker does no harm
                await self.write(lambda _: self._clean_marker.mark_clean())

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - divided between two threads
        """Complete the queued writes, checkpoint the write-ahead log, and release the lock.

        After ``timeout`` seconds the database stays open: committed data is safe, because the next :meth:`open` finds
        it in the log, and the lock ends with the process.
        """
        started = asyncio.get_running_loop().time()
        await self._read_worker.close(timeout / 2)  # first: an open read blocks the checkpoint of the log
        remaining = timeout - (asyncio.get_running_loop().time() - started)
        if not await self._write_worker.close(remaining):
            _log.warning("store close timed out", extra={"store": str(self.path), "timeout_seconds": timeout})

    async def _report_corruption(self, reason: str) -> None:
        """Let the writer check the file, and repair or replace it, because a read found it corrupt."""

        def fail(_: Connection) -> None:
            error = sqlite3.DatabaseError(reason)
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

        with contextlib.suppress(StoreFailing):  # the caller gets the error of its read
            await self._write_worker.submit(fail)
