"""The contract of pending inputs and of fenced commits of alerting, in memory and in PostgreSQL."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from streamcanary.alerting.service.shared.alert_inputs import AlertInputs
from streamcanary.model.alerts.pending_input import AlertCommit, AlertProgress, PendingInput
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import ALERTS, Ownership
from streamcanary.replicas.lease_store import LeaseStore
from streamcanary.store.errors import LeaseLost, SessionLost, StoreLost
from streamcanary.store.postgres.replication.alert_inputs import PostgresAlertInputs
from support.alerting.builders import good
from support.memory_lease_store import MemoryAlertConnection, MemoryConnection
from support.store.lease_databases import InMemory, InPostgres, in_postgres, join

SHARD = "shard-000"
ROWS = [
    RowChange("incidents", "a", b'{"a": 1}'),
    RowChange("detectors", "d", b'{"d": 1}'),
    RowChange("incidents", "b", b'{"b": 1}'),
    RowChange("alert_history", "h", b'{"h": 1}'),
]


class Replica:
    """A replica that has joined, with its leases and the inputs of alerting."""

    def __init__(self, leases: LeaseStore, inputs: AlertInputs, session: int) -> None:
        self.leases = leases
        self.inputs = inputs
        self.session = session

    async def own_alerts(self) -> Ownership:
        """Take the lease of alerts."""
        leases = await self.leases.acquire(self.session, [ALERTS])
        return Ownership(self.session, leases[ALERTS].epoch)

    async def record(self, *runs: Outcome) -> None:
        """Record runs."""
        leases = await self.leases.acquire(self.session, [SHARD])
        await self.leases.commit_runs(self.session, {SHARD: runs}, {SHARD: leases[SHARD].epoch}, {})


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.real("postgresql"))])
async def database(request: pytest.FixtureRequest) -> AsyncIterator[InMemory | InPostgres]:
    """Provide each database, empty."""
    if request.param == "memory":
        yield InMemory()
        return
    async with in_postgres(request.getfixturevalue("postgres_url")) as database:
        yield database


async def connect(database: InMemory | InPostgres, name: str = "one") -> Replica:
    """Join as another replica."""
    leases = await database.connect()
    backend: Any = database.open().backend if isinstance(database, InPostgres) else None
    inputs: AlertInputs = (
        MemoryAlertConnection(MemoryConnection(database.database))
        if isinstance(database, InMemory)
        else PostgresAlertInputs(backend)
    )
    return Replica(leases, inputs, (await join(leases, name)).session)


async def test_runs_are_inputs_in_the_order_of_their_commits(database: InMemory | InPostgres) -> None:
    """Each run that any replica records is one pending input, with its outcome; a limit is kept."""
    one = await connect(database)
    await one.record(good(1), good(2))
    await one.record(good(2), good(3))
    pending = await one.inputs.pending(10)
    assert [good(1), good(2), good(3)] == [msgspec.json.decode(each.value, type=Outcome) for each in pending]
    assert (["run"] * 3, pending[:2]) == ([each.kind for each in pending], await one.inputs.pending(2))
    assert sorted(each.id for each in pending) == [each.id for each in pending]


async def test_input_waits_until_it_is_consumed(database: InMemory | InPostgres) -> None:
    """An input is pending until a commit of the owner consumes it; another replica sees that."""
    one, two = await connect(database), await connect(database, "two")
    owner = await one.own_alerts()
    number = await two.inputs.add("silence_deleted", b'"x"')
    assert [PendingInput(number, "silence_deleted", b'"x"')] == await one.inputs.pending(10)
    assert AlertProgress(0, number) == await two.inputs.progress()
    assert await two.inputs.is_pending(number)
    await one.inputs.commit(owner, [], [number])
    assert not await two.inputs.is_pending(number)
    assert AlertProgress(0, None) == await two.inputs.progress()


async def test_commit_saves_rows_and_deletes_inputs_at_once(database: InMemory | InPostgres) -> None:
    """A commit changes rows, deletes what it has consumed, and increments the revision; it may be repeated."""
    one, two = await connect(database), await connect(database, "two")
    owner = await one.own_alerts()
    await one.record(good(1), good(2))
    first, second = await one.inputs.pending(10)
    for _ in range(2):
        await one.inputs.commit(owner, ROWS, [first.id])
    revision, rows = await two.inputs.load(["incidents", "detectors", "silences"])
    assert {"incidents": {"a": b'{"a": 1}', "b": b'{"b": 1}'}, "detectors": {"d": b'{"d": 1}'}, "silences": {}} == rows
    assert (AlertProgress(revision, second.id), 2) == (await two.inputs.progress(), revision)
    await one.inputs.commit(owner, [RowChange("incidents", "a", None), RowChange("incidents", "b", b"{}")], [])
    assert {"incidents": {"b": b"{}"}} == (await two.inputs.load(["incidents"]))[1]


async def test_revision_stays_for_what_changes_with_each_run(database: InMemory | InPostgres) -> None:
    """Detectors and reachability change without a new revision."""
    one = await connect(database)
    owner = await one.own_alerts()
    await one.inputs.commit(owner, [RowChange("detectors", "d", b"{}"), RowChange("reachability", "r", b"{}")], [])
    assert AlertProgress(0) == await one.inputs.progress()


async def test_commit_to_a_database_that_has_lost_commits_changes_nothing(database: InMemory | InPostgres) -> None:
    """Its revision is lower than the one that is known: that is an error, until it is restored."""
    one = await connect(database)
    owner = await one.own_alerts()
    number = await one.inputs.add("silence_deleted", b'"x"')
    with pytest.raises(StoreLost):
        await one.inputs.commit(owner, ROWS, [number], known_revision=7)
    assert (AlertProgress(0, number), {"incidents": {}}) == (
        await one.inputs.progress(),
        (await one.inputs.load(["incidents"]))[1],
    )
    for _ in range(2):  # the second time, because the answer was lost
        restored = await one.inputs.commit(owner, ROWS, [number], known_revision=7, is_restore=True)
    assert (AlertProgress(restored.revision), True) == (await one.inputs.progress(), restored.revision > 7 + 100)
    assert AlertCommit(restored.revision + 1) == await one.inputs.commit(
        owner, ROWS, [], known_revision=restored.revision
    )


async def test_database_that_is_not_older_is_not_restored(database: InMemory | InPostgres) -> None:
    """What was read may be from a standby that lags behind: newer commits of others are not overwritten."""
    one = await connect(database)
    owner = await one.own_alerts()
    for _ in range(3):
        await one.inputs.commit(owner, ROWS, [])
    with pytest.raises(LeaseLost):
        await one.inputs.commit(owner, [RowChange("incidents", "a", None)], [], known_revision=2, is_restore=True)
    assert AlertProgress(3) == await one.inputs.progress()


async def test_single_detectors_can_be_read(database: InMemory | InPostgres) -> None:
    """Those of a few alerts are read often, all of them seldom; one that is not there is left out."""
    one = await connect(database)
    rows = [RowChange("detectors", name, name.encode()) for name in "abc"]
    await one.inputs.commit(await one.own_alerts(), rows, [])
    assert {"a": b"a", "c": b"c"} == await one.inputs.load_detectors(["a", "c", "x"])


async def test_commit_of_a_session_that_was_fenced_changes_nothing(database: InMemory | InPostgres) -> None:
    """After a takeover the former owner can neither save rows nor delete inputs."""
    one, two = await connect(database), await connect(database, "two")
    former = await one.own_alerts()
    await one.record(good(1))
    [pending] = await one.inputs.pending(10)
    await database.expire(one.session)
    owner = await two.own_alerts()
    with pytest.raises(SessionLost):
        await one.inputs.commit(former, ROWS, [pending.id])
    assert ((0, {"incidents": {}}), [pending]) == (
        await two.inputs.load(["incidents"]),
        await two.inputs.pending(10),
    )
    await two.inputs.commit(owner, ROWS, [pending.id])
    assert [] == await two.inputs.pending(10)


async def test_commit_with_another_epoch_changes_nothing(database: InMemory | InPostgres) -> None:
    """A session that has released alerts, and one that has never had them, cannot commit; a later epoch can."""
    one, two = await connect(database), await connect(database, "two")
    former = await one.own_alerts()
    await one.leases.release(one.session, [ALERTS])
    for owner in (former, Ownership(two.session, former.epoch)):
        with pytest.raises(LeaseLost):
            await one.inputs.commit(owner, ROWS, [])
    current = await one.own_alerts()
    with pytest.raises(LeaseLost):
        await one.inputs.commit(former, ROWS, [])
    await one.inputs.commit(current, ROWS, [])
    assert 1 == (await one.inputs.progress()).revision


async def test_any_replica_may_add_inputs(database: InMemory | InPostgres) -> None:
    """A silence needs no lease: a replica that stands by may create one."""
    one = await connect(database)
    numbers = [await one.inputs.add("silence_created", b"{}"), await one.inputs.add("diagnosis", b'["a", "b"]')]
    assert numbers == [each.id for each in await one.inputs.pending(10)]
