"""The store: one SQLite file. One thread writes, another reads, so that the event loop never blocks on the disk."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from streamcanary.model.alerts.row_change import RowChange, StateTable
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome
from streamcanary.model.spend import Spend
from streamcanary.model.statistics.rollup import Rollup, RunCounts
from streamcanary.model.status.alert_history import IncidentPage, PastIncident
from streamcanary.store import alert_history, alert_rows, history, rollups, spend
from streamcanary.store.config import StoreConfig
from streamcanary.store.errors import StoreFailing, StoreLost
from streamcanary.store.rollups import Windows
from streamcanary.store.sqlite.clean_marker import CleanMarker
from streamcanary.store.sqlite.database_file import OpenDatabase, check_path, open_database, write_probe
from streamcanary.store.sqlite.error_classification import is_corruption
from streamcanary.store.sqlite.lock import StoreLock
from streamcanary.store.sqlite.reader import Reader
from streamcanary.store.sqlite.worker import Worker
from streamcanary.store.sqlite.writer import Writer

_log = logging.getLogger(__name__)

T = TypeVar("T")

_TIMEOUT = 10.0  # seconds; longer than a sync of a slow disk, shorter than the acceptable delay of a notification
_MAX_WRITES_PER_COMMIT = 256
_MAX_QUEUED_WRITES = 4096
_MAX_QUEUED_READS = 64


class Store:
    """The persistent state of the daemon. Created by :meth:`open`; :meth:`close` may be called twice."""

    def __init__(
        self, path: Path, database: OpenDatabase | None, lock: StoreLock, clock: Clock, retention: float, timeout: float
    ) -> None:
        self.path = path
        self._clean_marker = CleanMarker(path)
        if database is not None:
            self._clean_marker.read_previous()
        self._reported_losses: dict[str, int] = {}  # by caller: the number of losses that were raised to it
        self._writer = Writer(path, database, lock, self._clean_marker, clock, retention)
        self._write_worker = Worker(
            "writer", self._writer, max_batch=_MAX_WRITES_PER_COMMIT, max_queued=_MAX_QUEUED_WRITES, timeout=timeout
        )
        self._read_worker = Worker("reader", Reader(path), max_batch=1, max_queued=_MAX_QUEUED_READS, timeout=timeout)

    @classmethod
    def open(cls, config: StoreConfig, clock: Clock, *, timeout: float = _TIMEOUT) -> Self:
        """Open or create the store and acquire its lock. Blocks: call it before the event loop has work.

        A full, read-only or failing disk raises no error here: reads and writes fail while the disk fails, and each of
        them tries to open the store again. ``timeout`` is how many seconds a read or write waits for the disk.

        Raises:
            StoreUnwritable: if ``config.path`` cannot hold a store, or permissions forbid it.
            StoreLocked: if another daemon uses the store.
            StoreTooNew: if a later version has written the store.
        """
        path = check_path(config.path.absolute())
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
        return cls(path, database, lock, clock, config.keep, timeout)

    @property
    def corrupt_path(self) -> Path | None:
        """The path to which the last corrupt store was renamed, at :meth:`open` or later; ``None`` if none was."""
        return self._writer.corrupt_path

    @property
    def may_be_incomplete(self) -> bool:
        """Whether an earlier process could not save all changes, and no :meth:`commit` has succeeded since."""
        return self._clean_marker.was_left_unclean

    def is_writable(self) -> bool:
        """Return whether the last write succeeded within the timeout. :meth:`probe` performs a write."""
        return self._writer.is_writable and not self._write_worker.is_stuck

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``fn`` in a durable transaction and return its result once the transaction is on the disk.

        Writes are made in the order of the calls; queued writes share a commit. ``fn`` runs in another thread. It must
        not end the transaction or keep the connection, and it may be called twice, with the first call rolled back.
        An exception of ``fn`` rolls back the changes of ``fn`` only, and is raised here. Cancelling the caller does
        not cancel the write.

        Raises:
            StoreFailing: if SQLite or the operating system reports an error; a later write may succeed.
            StoreLost: if the file was replaced by another one, without the earlier content.
        """
        return await self._write_worker.submit(fn)

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``fn`` in another thread, in a consistent snapshot of the last commit, and return its result.

        The read is aborted when the caller is cancelled or the timeout expires.

        Raises:
            StoreFailing: if the store cannot be read.
        """
        if not self._writer.is_open:
            await self.probe()  # opens the store; a store that cannot be written may still be readable
        try:
            return await self._read_worker.submit(fn)
        except StoreFailing as failure:
            if failure.__cause__ is not None and is_corruption(failure.__cause__):
                await self._report_corruption(str(failure.__cause__))
            raise

    async def commit(self, rows: Sequence[RowChange], outcomes: Sequence[Outcome]) -> None:
        """Save changes of the alerting state and record runs, all in one durable transaction.

        Raises:
            StoreFailing, StoreLost: as :meth:`write`. A loss is raised once to this caller, even if another caller met
                it first.
        """

        def save(connection: sqlite3.Connection) -> None:
            alert_rows.save_rows(connection, rows)
            recorded = [outcome for outcome in outcomes if history.record_run(connection, outcome)]
            rollups.add_runs(connection, recorded)

        await self._write_for("ledger", save)
        if not self._clean_marker.is_clean:
            with contextlib.suppress(StoreFailing):  # all data is saved; an outdated marker does no harm
                await self.write(lambda _: self._clean_marker.mark_clean())

    async def load_rows(self) -> dict[StateTable, dict[str, bytes]]:
        """Return the state of alerting, by table and key.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(alert_rows.load_rows)

    async def unfinished_incidents(self, ids: Collection[str]) -> list[PastIncident]:
        """Return the alerts of the history that have not resolved, and those of ``ids``.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: alert_history.read_unfinished(connection, ids))

    async def past_incidents(
        self, before: str | None = None, *, limit: int = 50, canary: str | None = None
    ) -> IncidentPage:
        """Return a page of the history of alerts, the newest first; see :func:`alert_history.read_page`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(
            lambda connection: alert_history.read_page(connection, before, limit=limit, canary=canary)
        )

    async def past_incident(self, id: str) -> PastIncident | None:  # noqa: A002 - the field's name
        """Return the alert of ``id`` in the history; ``None`` if there is none.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: alert_history.read_incident(connection, id))

    async def save_spend(self, days: Mapping[str, Spend]) -> None:
        """Set the spend of canaries on these UTC days (``2026-02-02``).

        Raises:
            StoreFailing, StoreLost: as :meth:`commit`.
        """
        await self._write_for("spend", lambda connection: spend.save_spend(connection, days))

    async def load_spend(self) -> dict[str, Spend]:
        """Return the spend of canaries, by UTC day.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(spend.load_spend)

    async def last_answers(self, canaries: Sequence[str]) -> dict[str, Outcome]:
        """Return the last run of each of ``canaries`` that its primary route answered, by canary.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.last_answers(connection, canaries))

    async def last_runs(self, canaries: Sequence[str]) -> dict[str, Outcome]:
        """Return the last run of each of ``canaries`` that was not skipped, by canary.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.last_runs(connection, canaries))

    async def last_runs_of(self, canaries: Sequence[str], limit: int) -> dict[str, list[Outcome]]:
        """Return the last ``limit`` runs of each of ``canaries``, in the order of their ends.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.last_runs_of(connection, canaries, limit))

    async def runs_of(
        self, names: Sequence[str], *, before: int | None = None, limit: int = 50, kinds: Sequence[str] = ()
    ) -> tuple[list[Outcome], int | None]:
        """Return up to ``limit`` runs of a canary before the row ``before``, latest end first.

        ``names`` are those under which its runs are recorded: its own, and its former one. The last runs
        if ``before`` is ``None``; only those of ``kinds``, if there are any. The second value is the row before which
        there may be more runs, ``None`` if there are none.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(
            lambda connection: history.runs_of(connection, names, before=before, limit=limit, kinds=kinds)
        )

    async def find_run(self, run_id: str) -> Outcome | None:
        """Return the recorded run of this id, ``None`` if there is none.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.find_run(connection, run_id))

    async def state_starts(
        self, canaries: Sequence[tuple[Sequence[str], Collection[str]]], limit: int
    ) -> list[float | None]:
        """Return for each of ``canaries``, its names and outcomes, since when all its runs have had one of these.

        See :func:`~streamcanary.store.history.state_start`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(
            lambda connection: [history.state_start(connection, *canary, limit) for canary in canaries]
        )

    async def row_before_last(self, count: int) -> int:
        """Return the row after which there are the last ``count`` runs, for :meth:`runs_after`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.row_before_last(connection, count))

    async def runs_after(self, last: int, limit: int) -> tuple[list[Outcome], int | None]:
        """Return up to ``limit`` runs after the row ``last``, in the order of their ends, and the last row of these.

        The row is ``None`` if there are no more.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: history.runs_after(connection, last, limit))

    async def sum_counts(self, starts: Sequence[float], canaries: Mapping[str, str] | None = None) -> Windows:
        """Return the counts of each canary since each of ``starts``: :func:`~streamcanary.store.rollups.sum_counts`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: rollups.sum_counts(connection, starts, canaries))

    async def first_periods(self, canaries: Mapping[str, str]) -> dict[str, int]:
        """Return when the first period of each canary began: :func:`~streamcanary.store.rollups.first_periods`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: rollups.first_periods(connection, canaries))

    async def read_counts(
        self, since: float, canaries: Mapping[str, str] | None = None
    ) -> list[tuple[str, int, int, RunCounts]]:
        """Return the counts of each period: :func:`~streamcanary.store.rollups.read_counts`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: list(rollups.read_counts(connection, since, canaries)))

    async def read_rollups(self, since: float, canaries: Mapping[str, str]) -> list[Rollup]:
        """Return the rollups of ``canaries``: :func:`~streamcanary.store.rollups.read_rollups`.

        Raises:
            StoreFailing: as :meth:`read`.
        """
        return await self.read(lambda connection: list(rollups.read_rollups(connection, since, canaries)))

    async def probe(self) -> bool:
        """Perform a write that changes nothing, and return :meth:`is_writable`."""
        try:
            await self.write(write_probe)
        except StoreFailing as error:
            _log.debug("store probe failed", extra={"store": str(self.path), "error": str(error)})
            return False
        return self.is_writable()

    async def _report_corruption(self, reason: str) -> None:
        """Let the writer check the file, and repair or replace it, because a read found it corrupt."""

        def fail(_: sqlite3.Connection) -> None:
            error = sqlite3.DatabaseError(reason)
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

        with contextlib.suppress(StoreFailing):  # the caller gets the error of its read
            await self._write_worker.submit(fail)

    async def _write_for(self, caller: str, fn: Callable[[sqlite3.Connection], None]) -> None:
        """Write for ``caller``, and raise each loss once to it, even if another caller or a probe met it first."""

        def raise_if_lost(connection: sqlite3.Connection) -> None:
            if self._reported_losses.get(caller, 0) != self._writer.loss_count:
                raise StoreLost(f"the store {self.path} was lost; the file that is there now is used instead")
            fn(connection)

        try:
            await self.write(raise_if_lost)
        except StoreLost:
            self._reported_losses[caller] = self._writer.loss_count
            raise

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - divided between two threads
        """Complete the queued writes, checkpoint the write-ahead log, and release the lock.

        After ``timeout`` seconds the store stays open: committed data is safe, because the next :meth:`open` finds it
        in the log, and the lock ends with the process.
        """
        started = asyncio.get_running_loop().time()
        await self._read_worker.close(timeout / 2)  # first: an open read blocks the checkpoint of the log
        remaining = timeout - (asyncio.get_running_loop().time() - started)
        if not await self._write_worker.close(remaining):
            # Committed data is safe: the next start finds it in the write-ahead log.
            _log.warning("store close timed out", extra={"store": str(self.path), "timeout_seconds": timeout})
