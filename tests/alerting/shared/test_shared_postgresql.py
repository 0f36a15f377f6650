"""Shared alerting of two replicas over PostgreSQL, with receivers on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.service.shared.shared_alerting import SharedAlerting
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import ALERTS, Ownership
from streamcanary.store.errors import SessionLost, StoreError
from streamcanary.store.postgres.replication.alert_inputs import PostgresAlertInputs
from streamcanary.store.postgres.replication.lease_store import PostgresLeaseStore
from support.alerting.builders import CHAT
from support.alerting.service import OUTAGE, RECOVERY, accepted_types, wait_until, webhooks_config
from support.servers.receiver import FakeReceiver
from support.servers.tcp_proxy import TcpProxy
from support.store.lease_databases import InPostgres, in_postgres, join

pytestmark = pytest.mark.real("postgresql")

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


async def test_owner_that_was_fenced_ends_and_its_successor_resolves(postgres_url: str) -> None:
    """A deposed owner that goes on is refused at its next commit; each notification is sent once."""
    async with FakeReceiver() as hook, in_postgres(postgres_url) as database:
        one, two = (PostgresReplica(database, webhooks_config(hook=hook)) for _ in range(2))
        async with running(one, two):
            await one.take_alerts()
            await two.record(*OUTAGE)
            await hook.wait_for_deliveries(1)
            await wait_until(lambda: one.alerting.is_owner and not one.alerting.status.undelivered_count)
            await wait_until(lambda: two.alerting.open_incidents)
            await database.expire(one.session)
            await two.take_alerts()
            await two.record(*RECOVERY)
            await hook.wait_for_deliveries(2)
            await wait_until(lambda: one.lost)
            await wait_until(lambda: not one.alerting.open_incidents)
        assert [SessionLost] == [type(error) for error in one.lost]
        assert (["alert.fired", "alert.resolved"], 2) == (accepted_types(hook), len(hook.deliveries))
        assert [(0,)] == await database.execute("SELECT count(*) FROM pending_inputs")


async def test_nothing_is_sent_while_the_network_to_the_database_is_cut(postgres_url: str) -> None:
    """An owner that cannot commit sends nothing; once the network works again, everything is sent once."""
    address = urlsplit(postgres_url)
    with TcpProxy(address.port or 0) as proxy:
        async with (
            FakeReceiver() as hook,
            in_postgres(postgres_url) as direct,
            in_postgres(postgres_url.replace(f":{address.port}/", f":{proxy.port}/")) as proxied,
        ):
            one, other = (PostgresReplica(each, webhooks_config(hook=hook)) for each in (proxied, direct))
            async with running(one):
                await one.take_alerts()
                await wait_until(lambda: one.alerting.is_owner)
                proxy.refuse()
                await other.record(*OUTAGE)
                await wait_until(lambda: one.alerting._service.feed._is_failing)  # type: ignore[union-attr]
                assert ((), []) == (one.alerting.open_incidents, hook.deliveries)
                proxy.heal()
                await hook.wait_for_deliveries(1)
                await other.record(*RECOVERY)
                await hook.wait_for_deliveries(2)
        assert (["alert.fired", "alert.resolved"], 2) == (accepted_types(hook), len(hook.deliveries))
