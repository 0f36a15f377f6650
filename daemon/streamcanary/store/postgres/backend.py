"""PostgreSQL as the database of the store: threads write and read, so that the event loop never waits for the network.

One thread makes the writes of the store in their order; one makes those that must not wait for these, such as the
renewal of a lease; two read. Each has a connection of its own.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Self, TypeVar

from streamcanary.model.clock import Clock
from streamcanary.store.connection import Connection
from streamcanary.store.errors import StoreFailing
from streamcanary.store.postgres.reader import Reader
from streamcanary.store.postgres.server import Server
from streamcanary.store.postgres.writer import Writer
from streamcanary.store.pruning import Pruner
from streamcanary.store.worker import MAX_QUEUED_READS, MAX_QUEUED_WRITES, MAX_WRITES_PER_COMMIT, Worker

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MEDIUM: Final = "the database"
_READERS: Final = 2
_MAX_QUEUED_URGENT: Final = 64


class PostgresBackend:
    """The schema of the store on ``server``. Created by :meth:`open`; :meth:`close` may be called twice."""

    may_be_incomplete: Final = False  # what could not be committed was not sent, as other replicas could send it, too

    def __init__(self, server: Server, writer: Writer, urgent_timeout: float) -> None:
        self._server = server
        self._writer = writer
        timeout = server.timeout
        self._write_worker = Worker(
            "writer",
            writer,
            medium=_MEDIUM,
            max_batch=MAX_WRITES_PER_COMMIT,
            max_queued=MAX_QUEUED_WRITES,
            timeout=timeout,
        )
        self._urgent_worker = Worker(
            "urgent-writer",
            Writer(server._replace(timeout=urgent_timeout)),
            medium=_MEDIUM,
            max_batch=1,
            max_queued=_MAX_QUEUED_URGENT,
            timeout=urgent_timeout,
        )
        self._read_worker = Worker(
            "reader",
            *(Reader(server) for _ in range(_READERS)),
            medium=_MEDIUM,
            max_batch=1,
            max_queued=MAX_QUEUED_READS,
            timeout=timeout,
        )

    @classmethod
    def open(cls, server: Server, clock: Clock, *, retention: float, urgent_timeout: float = 5.0) -> Self:
        """Connect to ``server``, and create or migrate the schema. Blocks.

        A server that cannot be reached, has no connection left, or is read-only raises no error here: each read and
        write tries again. ``retention`` is how many seconds ended runs are kept, ``urgent_timeout`` how many a write
        of :meth:`write_apart` may take.

        Raises:
            StoreUnwritable: if the URL is not valid, the server refuses it or is too old, or the rights do not suffice.
            StoreTooNew: if a later version has written the store.
        """
        writer = Writer(server, Pruner(clock, retention))
        try:
            writer.open()
        except StoreFailing as failure:
            # At debug level: the first read or write fails with the same reason, and its caller reports it.
            _log.debug("store open failed", extra={"store": server.location, "error": str(failure)})
        return cls(server, writer, urgent_timeout)

    @property
    def location(self) -> str:
        """The URL without user, password and options."""
        return self._server.location

    @property
    def loss_count(self) -> int:
        """How many times the schema was replaced by another one since the start."""
        return self._writer.loss_count

    def is_writable(self) -> bool:
        """Return whether the last write succeeded within the timeout."""
        return self._writer.is_writable and not self._write_worker.is_stuck

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in the writer thread; queued writes share a commit."""
        return await self._write_worker.submit(fn)

    async def write_apart(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in a durable transaction of its own, which does not wait for the writes of :meth:`write`.

        It may be committed before writes that were queued earlier. Errors are as for :meth:`write`.
        """
        return await self._urgent_worker.submit(fn)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Call ``fn`` in a reader thread, in a snapshot."""
        if not self._writer.is_open:
            await self.probe()  # creates the schema; a server that cannot be written may still be readable
        return await self._read_worker.submit(fn)

    async def probe(self) -> bool:
        """Write to the log of the server, which changes no row, and return :meth:`is_writable`."""
        try:
            await self.write(_write_probe)
        except StoreFailing as error:
            _log.debug("store probe failed", extra={"store": self.location, "error": str(error)})
            return False
        return self.is_writable()

    async def mark_complete(self) -> None:
        """Do nothing: the state is complete at each commit."""

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - shared by all threads
        """Complete the queued writes, and close the connections.

        After ``timeout`` seconds they stay open: what is committed is safe, and the server rolls back the rest.
        """
        workers = (self._read_worker, self._urgent_worker, self._write_worker)
        if not all(await asyncio.gather(*(worker.close(timeout) for worker in workers))):
            _log.warning("store close timed out", extra={"store": self.location, "timeout_seconds": timeout})


def _write_probe(connection: Connection) -> None:
    connection.execute("UPDATE schema_version SET version = version WHERE false")  # fails in a read-only database
    connection.execute("SELECT pg_logical_emit_message(true, 'streamcanary', '')")
