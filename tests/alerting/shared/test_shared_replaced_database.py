"""A database that has lost commits of alerting, or that was replaced by an older or an empty one, in PostgreSQL."""

from typing import Any

import pytest

from streamcanary.alerting.service.shared import stored_alerts
from streamcanary.model import names
from streamcanary.model.alerts.row_change import StateTable
from streamcanary.store.tables.alert_rows import TABLES
from support.alerting.service import OUTAGE, RECOVERY, accepted_types, wait_until, webhooks_config
from support.alerting.shared_postgres import PostgresReplica, running
from support.servers.receiver import FakeReceiver
from support.store.lease_databases import InPostgres, in_postgres
from support.telemetry.in_memory import RecordedTelemetry

pytestmark = pytest.mark.real("postgresql")

STATE = (*TABLES, "alert_history", "alert_revision")


async def back_up(database: InPostgres) -> None:
    """Keep a copy of the state of alerting."""
    for table in STATE:
        await database.execute(f"CREATE TABLE copy_of_{table} AS TABLE {table}")


async def restore(database: InPostgres, *, empty: bool = False) -> None:
    """Replace the state of alerting by the copy, or by nothing."""
    statements = [f"DELETE FROM {table}" for table in STATE]  # noqa: S608 - fixed names; TRUNCATE is seen by readers
    statements += (
        ["INSERT INTO alert_revision VALUES (0)"]
        if empty
        else [f"INSERT INTO {table} TABLE copy_of_{table}" for table in STATE]
    )
    await database.execute(f"DO $$ BEGIN {'; '.join(statements)}; END $$")


async def notify_of_an_outage(hook: FakeReceiver, owner: PostgresReplica, other: PostgresReplica) -> None:
    """Let ``owner`` notify of an outage, and the other replica read that."""
    await owner.record(*OUTAGE)
    await hook.wait_for_deliveries(1)
    await wait_until(lambda: owner.alerting.is_owner and not owner.alerting.status.undelivered_count)
    await wait_until(lambda: other.alerting.open_incidents and not other.alerting.status.undelivered_count)


async def stored_keys(database: InPostgres, table: StateTable) -> list[tuple[Any, ...]]:
    return await database.execute(f"SELECT key FROM {table} ORDER BY key")  # noqa: S608 - fixed names


@pytest.mark.parametrize("empty", [False, True], ids=["older", "empty"])
async def test_an_owner_writes_again_what_a_failover_has_lost(
    postgres_url: str, recorded: RecordedTelemetry, caplog: pytest.LogCaptureFixture, empty: bool
) -> None:
    """It sees that the revision is lower, writes all rows, says so, and sends the resolve; nothing is sent twice."""
    async with FakeReceiver() as hook, in_postgres(postgres_url) as database:
        one, two = (PostgresReplica(database, webhooks_config(hook=hook)) for _ in range(2))
        async with running(one, two):
            await one.take_alerts()
            await wait_until(lambda: one.alerting.is_owner)
            await back_up(database)
            await notify_of_an_outage(hook, one, two)
            incidents = await stored_keys(database, "incidents")
            before = recorded.value(names.REPLICA_ALERTS_RESTORED.name)
            await restore(database, empty=empty)
            await two.record(RECOVERY[0])
            await wait_until(lambda: recorded.value(names.REPLICA_ALERTS_RESTORED.name) == before + 1)
            assert incidents == await stored_keys(database, "incidents")
            await two.record(*RECOVERY[1:])
            await hook.wait_for_deliveries(2)
            await wait_until(lambda: not two.alerting.open_incidents)
        assert (["alert.fired", "alert.resolved"], 2) == (accepted_types(hook), len(hook.deliveries))
    assert 1 == sum(record.message == "alerts restored from memory" for record in caplog.records)


@pytest.mark.parametrize("empty", [False, True], ids=["older", "empty"])
@pytest.mark.parametrize("successor", ["the same", "another"])
async def test_a_successor_writes_again_what_a_replaced_database_does_not_have(
    postgres_url: str, caplog: pytest.LogCaptureFixture, empty: bool, successor: str
) -> None:
    """Whether it was the owner or has only read the alerts, it knows the incident, and sends its resolve."""
    async with FakeReceiver() as hook, in_postgres(postgres_url) as database:
        one, two = (PostgresReplica(database, webhooks_config(hook=hook)) for _ in range(2))
        async with running(one, two):
            await one.take_alerts()
            await wait_until(lambda: one.alerting.is_owner)
            await back_up(database)
            await notify_of_an_outage(hook, one, two)
            one.alerting.lost(["alerts"])
            await database.expire(one.session)
            await restore(database, empty=empty)
            next_owner = one if successor == "the same" else two
            await wait_until(lambda: "has revision 0 of the alerts" in two.alerting.store_error)
            assert two.alerting.open_incidents  # still shown
            await next_owner.take_alerts()
            await next_owner.record(*RECOVERY)
            await hook.wait_for_deliveries(2)
            await wait_until(lambda: not (one.alerting.open_incidents or two.alerting.open_incidents))
            await wait_until(lambda: not two.alerting.store_error)
        assert (["alert.fired", "alert.resolved"], 2) == (accepted_types(hook), len(hook.deliveries))
    assert 1 == sum(record.message == "alerts restored from memory" for record in caplog.records)


async def test_older_alerts_are_shown_once_nobody_has_written_the_newer_ones(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A replica that does not own the alerts accepts what the database has, and says so."""
    async with FakeReceiver() as hook, in_postgres(postgres_url) as database:
        one, two = (PostgresReplica(database, webhooks_config(hook=hook)) for _ in range(2))
        async with running(one, two):
            await one.take_alerts()
            await wait_until(lambda: one.alerting.is_owner)
            await notify_of_an_outage(hook, one, two)
            one.alerting.lost(["alerts"])
            monkeypatch.setattr(stored_alerts, "KEEP_NEWER", 0.0)
            await restore(database, empty=True)
            await wait_until(lambda: not two.alerting.open_incidents)
            assert "" == two.alerting.store_error
    assert "older alerts accepted" in {record.message for record in caplog.records}
