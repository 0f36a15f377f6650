"""The two databases of leases in tests, in memory and PostgreSQL, with what a test needs to know about them."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec

from streamcanary.model.clock import SystemClock
from streamcanary.model.config_types.secret import Secret
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import Replica
from streamcanary.model.spend import Spend
from streamcanary.replicas.lease_store import LeaseStore
from streamcanary.store.database import Store
from streamcanary.store.postgres.backend import PostgresBackend
from streamcanary.store.postgres.replication.lease_store import PostgresLeaseStore
from streamcanary.store.postgres.server import Server
from support.clock import ManualClock
from support.memory_lease_store import MemoryConnection, MemoryDatabase, MemoryLeaseStore

TTL = 600.0
"""Seconds; a test lets a session expire with :meth:`LeaseDatabase.expire`."""


class LeaseDatabase(Protocol):
    """A database that replicas share."""

    async def connect(self) -> LeaseStore:
        """Return the lease store of another replica, with connections of its own."""
        ...

    async def expire(self, *sessions: int) -> None:
        """Let sessions expire."""
        ...

    async def pending(self) -> list[Outcome]:
        """Return the runs that wait for alerting, in their order."""
        ...

    async def consume(self) -> None:
        """Delete them, as alerting does."""
        ...

    async def recorded(self) -> list[str]:
        """Return the ids of the recorded runs."""
        ...

    async def spend(self) -> dict[str, Spend]:
        """Return the spend of sessions that have ended, by day."""
        ...


class InMemory:
    """The database in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.database = MemoryDatabase(self.clock.time)

    async def connect(self) -> LeaseStore:
        """Return the lease store of another replica."""
        return MemoryLeaseStore(MemoryConnection(self.database))

    async def expire(self, *sessions: int) -> None:
        """Let sessions expire."""
        for session in sessions:
            self.database.sessions[session].expires = 0.0

    async def pending(self) -> list[Outcome]:
        """Return the runs that wait for alerting."""
        return [msgspec.json.decode(each.value, type=Outcome) for each in self.database.alerts.inputs.values()]

    async def consume(self) -> None:
        """Delete them."""
        self.database.alerts.inputs.clear()

    async def recorded(self) -> list[str]:
        """Return the ids of the recorded runs."""
        return list(self.database.runs)

    async def spend(self) -> dict[str, Spend]:
        """Return the spend of sessions that have ended."""
        return self.database.spend


class InPostgres:
    """A database in PostgreSQL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = contextlib.AsyncExitStack()
        self.store = self.open()

    def open(self) -> Store:
        """Open the store of another replica."""
        server = Server(Secret(self._url), "streamcanary", 10.0)
        store = Store(PostgresBackend.open(server, SystemClock(), retention=86400.0))
        self._stack.push_async_callback(store.close, 10.0)
        return store

    async def connect(self) -> LeaseStore:
        """Return the lease store of another replica."""
        return PostgresLeaseStore(self.open().backend)  # type: ignore[arg-type]

    async def execute(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Execute a statement in the schema of the store, and return its rows."""

        def run(connection: Any) -> list[tuple[Any, ...]]:
            cursor = connection.execute(sql, parameters)
            return [] if cursor.description is None else cursor.fetchall()

        return await self.store.write(run)

    async def expire(self, *sessions: int) -> None:
        """Let sessions expire."""
        await self.execute(
            "UPDATE replicas SET expires = clock_timestamp() - interval '1 ms' WHERE session = ANY(?)", list(sessions)
        )

    async def pending(self) -> list[Outcome]:
        """Return the runs that wait for alerting."""
        rows = await self.execute("SELECT value FROM pending_inputs WHERE kind = 'run' ORDER BY id")
        return [msgspec.json.decode(value, type=Outcome) for (value,) in rows]

    async def consume(self) -> None:
        """Delete them."""
        await self.execute("DELETE FROM pending_inputs")

    async def recorded(self) -> list[str]:
        """Return the ids of the recorded runs."""
        return [run_id for (run_id,) in await self.execute("SELECT run_id FROM runs ORDER BY id")]

    async def spend(self) -> dict[str, Spend]:
        """Return the spend of sessions that have ended."""
        return await self.store.load_spend()

    async def close(self) -> None:
        """Close all connections."""
        await self._stack.aclose()


@contextlib.asynccontextmanager
async def in_postgres(url: str) -> AsyncIterator[InPostgres]:
    """Provide a database at ``url``."""
    database = InPostgres(url)
    try:
        yield database
    finally:
        await database.close()


async def join(store: LeaseStore, name: str, **more: Any) -> Replica:
    """Join as ``name``."""
    values: dict[str, Any] = {"generation": 1, "config": "c", "address": "", "ttl": TTL, **more}
    return await store.join(name, **values)
