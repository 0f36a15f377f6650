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
from streamcanary.store.clean_marker import Note
from streamcanary.store.config import StoreConfig
from streamcanary.store.database_file import Opened, check_place, open_file, touch
from streamcanary.store.errors import StoreFailing, StoreLost
from streamcanary.store.lock import Lock
from streamcanary.store.reader import Reader
from streamcanary.store.worker import Worker
from streamcanary.store.writer import Writer

_log = logging.getLogger(__name__)

T = TypeVar("T")

_PATIENCE = 10.0  # seconds; longer than a slow disk's sync, shorter than a page may wait
_MOST_IN_ONE_COMMIT = 256
_MOST_WRITES_WAITING = 4096
_MOST_READS_WAITING = 64


class Store:
    """What the daemon remembers. Made by :meth:`open`; ended by :meth:`close`, which may be called twice."""

    def __init__(
        self, path: Path, opened: Opened | None, lock: Lock, clock: Clock, keep: float, patience: float
    ) -> None:
        self.path = path
        self._note = Note(path)
        if opened is not None:
            self._note.look()
        self._heard: dict[str, int] = {}  # of how many losses, by who writes all of it again after one
        self._writer = Writer(path, opened, lock, self._note, clock, keep)
        self._writing = Worker(
            "writer", self._writer, batch=_MOST_IN_ONE_COMMIT, backlog=_MOST_WRITES_WAITING, patience=patience
        )
        self._reading = Worker("reader", Reader(path), batch=1, backlog=_MOST_READS_WAITING, patience=patience)

    @classmethod
    def open(cls, config: StoreConfig, clock: Clock, *, patience: float = _PATIENCE) -> Self:
        """Open the store, or make it, and take its lock. Blocks: call it before the loop has work.

        A disk that is full, read-only or does not work is no error here: reads and writes fail until it does, and
        each of them tries again to open the store. ``patience`` is how many seconds a read or write waits for the disk.

        Raises:
            StoreUnwritable: if it may not be kept at ``config.path``, or cannot ever be.
            StoreLocked: if another daemon has it.
            StoreTooNew: if a later version has written it.
        """
        path = check_place(config.path.absolute())
        lock = Lock(path)
        opened = None
        try:
            lock.acquire()
            opened = open_file(path, clock.time())
        except StoreFailing as failure:
            _log.debug("the store is not open: %s", failure)  # whoever reads or writes hears of it, and tells
        except BaseException:
            lock.release()
            raise
        return cls(path, opened, lock, clock, config.keep, patience)

    @property
    def set_aside(self) -> Path | None:
        """Where the corrupt store went, if there was one since :meth:`open`, or at it."""
        return self._writer.set_aside

    @property
    def may_be_incomplete(self) -> bool:
        """Whether an earlier process could not save everything, and no :meth:`commit` has succeeded since."""
        return self._note.left

    def writable(self) -> bool:
        """Tell whether the store took the last write, and in time. :meth:`probe` makes one."""
        return self._writer.writable and not self._writing.stuck

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
        return await self._writing.ask(fn)

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``fn`` in another thread, in one consistent view of the last commit, and return what it returns.

        A caller that is cancelled or runs out of patience breaks the read off.

        Raises:
            StoreFailing: if it could not be read.
        """
        if not self._writer.opened:
            await self.probe()  # opens it; one that cannot be written may be fit to be read
        return await self._reading.ask(fn)

    async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
        """Save changes to alerting's ledger and record runs, all in one durable transaction.

        Raises:
            StoreFailing, StoreLost: as :meth:`write`; of a loss it tells, whoever else has met it first.
        """

        def save(connection: sqlite3.Connection) -> None:
            alert_rows.save(connection, rows)
            for outcome in outcomes:
                history.record(connection, outcome)

        await self._write_as("ledger", save)
        if not self._note.written:
            with contextlib.suppress(StoreFailing):  # everything is saved; that the note says less does no harm
                await self.write(lambda _: self._note.write())

    async def load_rows(self) -> dict[StateTable, dict[str, bytes]]:
        """Return what alerting remembers, by table and key.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(alert_rows.load)

    async def save_spend(self, days: Mapping[str, Spend]) -> None:
        """Set what canaries spent on these UTC days (``2026-02-02``).

        Raises:
            StoreFailing, StoreLost: as :meth:`commit`.
        """
        await self._write_as("spend", lambda connection: spend.save(connection, days))

    async def load_spend(self) -> dict[str, Spend]:
        """Return what canaries spent, by UTC day.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(spend.load)

    async def probe(self) -> bool:
        """Write something that changes nothing, and return :meth:`writable`."""
        try:
            await self.write(touch)
        except StoreFailing as error:
            _log.debug("the store does not take a write: %s", error)
            return False
        return self.writable()

    async def _write_as(self, who: str, fn: Callable[[sqlite3.Connection], None]) -> None:
        """Write for ``who``, who hears of each loss once: another's write, or a probe, may have met it first."""

        def unless_lost(connection: sqlite3.Connection) -> None:
            if self._heard.get(who, 0) != self._writer.losses:
                raise StoreLost(f"the store {self.path} was lost; the one that is there now is used from here on")
            fn(connection)

        try:
            await self.write(unless_lost)
        except StoreLost:
            self._heard[who] = self._writer.losses
            raise

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - shared out between two threads
        """Do the writes that wait, move the log into the database, and give the lock back.

        After ``timeout`` seconds it is left as it is: nothing that was committed is lost, the next :meth:`open`
        finds it in the log, and the lock ends with the process.
        """
        begun = asyncio.get_running_loop().time()
        await self._reading.close(timeout / 2)  # first: a reader keeps the log from being moved
        rest = timeout - (asyncio.get_running_loop().time() - begun)
        if not await self._writing.close(rest):
            _log.warning("the store %s did not close within %g s; what was committed is safe", self.path, timeout)
