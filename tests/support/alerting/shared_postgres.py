"""Replicas with shared alerting for tests, over PostgreSQL. Their leases are taken by the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.service.shared.shared_alerting import SharedAlerting
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import ALERTS, Ownership
from streamcanary.store.errors import StoreError
from streamcanary.store.postgres.replication.alert_inputs import PostgresAlertInputs
from streamcanary.store.postgres.replication.lease_store import PostgresLeaseStore
from support.alerting.builders import CHAT
from support.store.lease_databases import InPostgres, join

SHARD = "shard-000"


class PostgresReplica:
    """A replica with connections of its own. Its leases are taken by the test, as the coordinator does."""

    def __init__(self, database: InPostgres, config: AlertsConfig) -> None:
        store = database.open()
        backend: Any = store.backend
        self.leases = PostgresLeaseStore(backend)
        self.session = 0
        self.ownership: Ownership | None = None
        self.lost: list[StoreError] = []
        self.alerting = SharedAlerting(
            config=config,
            instance="default",
            canaries=[CHAT],
            store=store,
            inputs=PostgresAlertInputs(backend),
            owner=lambda: self.ownership,
            is_valid=lambda: True,  # the fencing of the database alone is tested here
            clock=SystemClock(),
        )
        self.alerting.on_lease_lost = lambda error, _: self.lost.append(error)

    async def take_alerts(self) -> None:
        """Join, and take the lease of alerts."""
        self.session = (await join(self.leases, "replica")).session
        leases = await self.leases.acquire(self.session, [ALERTS])
        self.ownership = Ownership(self.session, leases[ALERTS].epoch)
        await self.alerting.gained([ALERTS])

    async def record(self, *runs: Outcome) -> None:
        """Record runs."""
        session = (await join(self.leases, "recorder")).session
        leases = await self.leases.acquire(session, [SHARD])
        assert not await self.leases.commit_runs(session, {SHARD: runs}, {SHARD: leases[SHARD].epoch}, {})
        await self.leases.leave(session)


@contextlib.asynccontextmanager
async def running(*replicas: PostgresReplica) -> AsyncIterator[None]:
    """Run replicas until the block ends."""
    tasks = [asyncio.create_task(replica.alerting.run()) for replica in replicas]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
