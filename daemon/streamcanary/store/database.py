"""The store: one SQLite file, written by one thread and read by another, so that the event loop never waits."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from streamcanary.model.alerts.row_change import RowChange, StateTable
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome
from streamcanary.model.spend import Spend
from streamcanary.store import alert_rows, history, spend
from streamcanary.store.config import StoreConfig
from streamcanary.store.errors import StoreFailing, StoreLost
from streamcanary.store.sqlite.clean_marker import CleanMarker
from streamcanary.store.sqlite.database_file import OpenDatabase, check_path, open_database, write_probe
from streamcanary.store.sqlite.lock import StoreLock
from streamcanary.store.sqlite.reader import Reader
from streamcanary.store.sqlite.worker import Worker
from streamcanary.store.sqlite.writer import Writer

_log = logging.getLogger(__name__)

T = TypeVar("T")

_TIMEOUT = 10.0  # seconds; longer than a slow disk's sync, shorter than a page may wait
_MAX_WRITES_PER_COMMIT = 256
_MAX_QUEUED_WRITES = 4096
_MAX_QUEUED_READS = 64


class Store:
    """What the daemon remembers. Made by :meth:`open`; ended by :meth:`close`, which may be called twice."""

    def __init__(
        self, path: Path, database: OpenDatabase | None, lock: StoreLock, clock: Clock, retention: float, timeout: float
    ) -> None:
        self.path = path
        self._clean_marker = CleanMarker(path)
        if database is not None:
            self._clean_marker.read_previous()
        self._reported_losses: dict[str, int] = {}  # of how many losses, by who writes all of it again after one
        self._writer = Writer(path, database, lock, self._clean_marker, clock, retention)
        self._write_worker = Worker(
            "writer", self._writer, max_batch=_MAX_WRITES_PER_COMMIT, max_queued=_MAX_QUEUED_WRITES, timeout=timeout
        )
        self._read_worker = Worker("reader", Reader(path), max_batch=1, max_queued=_MAX_QUEUED_READS, timeout=timeout)

    @classmethod
    def open(cls, config: StoreConfig, clock: Clock, *, timeout: float = _TIMEOUT) -> Self:
        """Open the store, or make it, and take its lock. Blocks: call it before the loop has work.

        A disk that is full, read-only or does not work is no error here: reads and writes fail until it does, and
        each of them tries again to open the store. ``patience`` is how many seconds a read or write waits for the disk.

        Raises:
            StoreUnwritable: if it may not be kept at ``config.path``, or cannot ever be.
            StoreLocked: if another daemon has it.
            StoreTooNew: if a later version has written it.
        """
        path = check_path(config.path.absolute())
        lock = StoreLock(path)
        database = None
        try:
            lock.acquire()
            database = open_database(path, clock.time())
        except StoreFailing as failure:
            _log.debug("the store is not open: %s", failure)  # whoever reads or writes hears of it, and tells
        except BaseException:
            lock.release()
            raise
        return cls(path, database, lock, clock, config.keep, timeout)

    @property
    def corrupt_path(self) -> Path | None:
        """Where the corrupt store went, if there was one since :meth:`open`, or at it."""
        return self._writer.corrupt_path

    @property
    def may_be_incomplete(self) -> bool:
        """Whether an earlier process could not save everything, and no :meth:`commit` has succeeded since."""
        return self._clean_marker.was_left_unclean

    def is_writable(self) -> bool:
        """Tell whether the store took the last write, and in time. :meth:`probe` makes one."""
        return self._writer.is_writable and not self._write_worker.is_stuck

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``fn`` in a durable transaction and return what it returns, once that is on the disk.

        Writes happen in the order of the calls, several in one commit when they wait. ``fn`` is called in another
        thread; it ends no transaction, keeps nothing of the connection, and may be called twice, the first time
        undone. What it raises undoes what it did, nothing else, and is raised here. A caller that is cancelled stops
        waiting; its write is made all the same.

        Raises:
            StoreFailing: if it could not be written, whatever SQLite or the system says; a later write may succeed.
            StoreLost: if the file is another one now, and without what was in it.
        """
        return await self._write_worker.submit(fn)

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``fn`` in another thread, in one consistent view of the last commit, and return what it returns.

        A caller that is cancelled or runs out of patience breaks the read off.

        Raises:
            StoreFailing: if it could not be read.
        """
        if not self._writer.is_open:
            await self.probe()  # opens it; one that cannot be written may be fit to be read
        return await self._read_worker.submit(fn)

    async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
        """Save changes to alerting's ledger and record runs, all in one durable transaction.

        Raises:
            StoreFailing, StoreLost: as :meth:`write`; of a loss it tells, whoever else has met it first.
        """

        def save(connection: sqlite3.Connection) -> None:
            alert_rows.save_rows(connection, rows)
            for outcome in outcomes:
                history.record_run(connection, outcome)

        await self._write_for("ledger", save)
        if not self._clean_marker.is_clean:
            with contextlib.suppress(StoreFailing):  # everything is saved; that the note says less does no harm
                await self.write(lambda _: self._clean_marker.mark_clean())

    async def load_rows(self) -> dict[StateTable, dict[str, bytes]]:
        """Return what alerting remembers, by table and key.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(alert_rows.load_rows)

    async def save_spend(self, days: Mapping[str, Spend]) -> None:
        """Set what canaries spent on these UTC days (``2026-02-02``).

        Raises:
            StoreFailing, StoreLost: as :meth:`commit`.
        """
        await self._write_for("spend", lambda connection: spend.save_spend(connection, days))

    async def load_spend(self) -> dict[str, Spend]:
        """Return what canaries spent, by UTC day.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(spend.load_spend)

    async def probe(self) -> bool:
        """Write something that changes nothing, and return :meth:`writable`."""
        try:
            await self.write(write_probe)
        except StoreFailing as error:
            _log.debug("the store does not take a write: %s", error)
            return False
        return self.is_writable()

    async def _write_for(self, caller: str, fn: Callable[[sqlite3.Connection], None]) -> None:
        """Write for ``who``, who hears of each loss once: another's write, or a probe, may have met it first."""

        def raise_if_lost(connection: sqlite3.Connection) -> None:
            if self._reported_losses.get(caller, 0) != self._writer.loss_count:
                raise StoreLost(f"the store {self.path} was lost; the one that is there now is used from here on")
            fn(connection)

        try:
            await self.write(raise_if_lost)
        except StoreLost:
            self._reported_losses[caller] = self._writer.loss_count
            raise

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - shared out between two threads
        """Do the writes that wait, move the log into the database, and give the lock back.

        After ``timeout`` seconds it is left as it is: nothing that was committed is lost, the next :meth:`open`
        finds it in the log, and the lock ends with the process.
        """
        started = asyncio.get_running_loop().time()
        await self._read_worker.close(timeout / 2)  # first: a reader keeps the log from being moved
        remaining = timeout - (asyncio.get_running_loop().time() - started)
        if not await self._write_worker.close(remaining):
            _log.warning("the store %s did not close within %g s; what was committed is safe", self.path, timeout)
