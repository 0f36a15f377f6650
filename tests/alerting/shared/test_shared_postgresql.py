"""Shared alerting of two replicas over PostgreSQL, with receivers on loopback."""

from urllib.parse import urlsplit

import pytest

from streamcanary.model import names
from streamcanary.store.errors import SessionLost
from support.alerting.service import OUTAGE, RECOVERY, accepted_types, wait_until, webhooks_config
from support.alerting.shared_postgres import PostgresReplica, running
from support.servers.receiver import FakeReceiver
from support.servers.tcp_proxy import TcpProxy
from support.store.lease_databases import in_postgres
from support.telemetry.in_memory import RecordedTelemetry

pytestmark = pytest.mark.real("postgresql")


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


async def test_a_row_that_the_database_rejects_stops_nothing_else(
    postgres_url: str, recorded: RecordedTelemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once and counted; alerts are notified and resolved, and their inputs are consumed."""
    before = recorded.value(names.REPLICA_ROWS_REJECTED.name)
    async with FakeReceiver() as hook, in_postgres(postgres_url) as database:
        owner = PostgresReplica(database, webhooks_config(hook=hook))
        await database.execute("ALTER TABLE incidents ADD CHECK (value = '')")
        async with running(owner):
            await owner.take_alerts()
            await owner.record(*OUTAGE)
            await hook.wait_for_deliveries(1)
            await owner.record(*RECOVERY)
            await hook.wait_for_deliveries(2)
            await wait_until(lambda: owner.alerting.is_owner and not owner.alerting.status.undelivered_count)
        assert [(0,), (0,)] == await database.execute(
            "SELECT count(*) FROM pending_inputs UNION ALL SELECT count(*) FROM incidents"
        )
        assert [(1,)] == await database.execute("SELECT count(*) FROM groups")
    logged = [vars(record) for record in caplog.records if record.message == "row of alerts not stored"]
    assert ["incidents"] == [each["table"] for each in logged]
    assert "violates check constraint" in logged[0]["error"]
    assert recorded.value(names.REPLICA_ROWS_REJECTED.name) > before
