"""Fencing in PostgreSQL: commits that are under way while their session ends, and what waits for what."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from streamcanary.model.replicas import ALERTS, RESOURCES, Ownership, TakenLease, Takeover
from streamcanary.replicas.coordinator import Coordinator
from streamcanary.store.connection import Connection
from streamcanary.store.errors import LeaseLost, SessionLost
from streamcanary.store.postgres.connection import PostgresConnection, WatchedConnection
from streamcanary.store.postgres.replication.fencing import check_owner, check_session, fence_expired
from support.alerting.builders import good
from support.programs.program import poll_until
from support.store.lease_databases import TTL, InPostgres, in_postgres, join

pytestmark = pytest.mark.real("postgresql")

SHARD = "shard-000"


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[InPostgres]:
    """Return an empty database."""
    async with in_postgres(postgres_url) as database:
        yield database


@pytest.fixture
def transaction(
    database: InPostgres, postgres_url: str
) -> Iterator[Callable[[], contextlib.AbstractContextManager[Connection]]]:
    """Return a function that begins a transaction of another process, which is committed at the end of the block."""

    @contextlib.contextmanager
    def begin() -> Iterator[Connection]:
        with WatchedConnection.connect(postgres_url, options="-csearch_path=streamcanary") as connection:
            yield PostgresConnection(connection)

    yield begin


Transaction = Callable[[], contextlib.AbstractContextManager[Connection]]


async def wait_until_blocked(database: InPostgres) -> None:
    """Wait until a transaction waits for the lock of another."""

    async def is_blocked() -> bool | None:
        query = (
            "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
            " WHERE NOT granted AND datname = current_database()"
            " UNION SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(await database.store.read(lambda connection: connection.execute(query).fetchall())) or None

    await poll_until(is_blocked, 20, lambda: "nothing waits for a lock")


async def test_a_session_does_not_end_before_its_commit(database: InPostgres, transaction: Transaction) -> None:
    """A takeover comes after a commit that has begun; nobody waits for it meanwhile."""
    store, other = await database.connect(), await database.connect()
    first, second = (await join(store, "a")).session, (await join(other, "b")).session
    await store.acquire(first, [SHARD])
    with transaction() as commit:
        check_session(commit, first)
        await database.expire(first)
        membership = await other.renew(second, ttl=TTL, generation=1, config="c", draining=False)
        assert {SHARD: Ownership(first, 1)} == membership.owners
        assert {} == await other.acquire(second, [SHARD])

    membership = await other.renew(second, ttl=TTL, generation=1, config="c", draining=False)
    assert {} == membership.owners
    assert {SHARD: TakenLease(2, Takeover.EXPIRED)} == await other.acquire(second, [SHARD])


async def test_a_commit_waits_for_the_end_of_its_session(database: InPostgres, transaction: Transaction) -> None:
    """And is refused then: the row that it waited for has changed."""
    store = await database.connect()
    session = (await join(store, "a")).session
    await store.acquire(session, [SHARD])
    await database.expire(session)
    with transaction() as fencing:
        fence_expired(fencing)
        commit = asyncio.create_task(store.commit_runs(session, {SHARD: [good(1)]}, {SHARD: 1}, {}))  # type: ignore[arg-type]
        await wait_until_blocked(database)

    with pytest.raises(SessionLost):
        await commit
    assert [] == await database.recorded()


async def test_a_release_waits_for_commits(database: InPostgres, transaction: Transaction) -> None:
    """The next owner takes the shard after everything that this one has begun to write."""
    store = await database.connect()
    session = (await join(store, "a")).session
    await store.acquire(session, [SHARD])
    with transaction() as commit:
        check_session(commit, session)
        release = asyncio.create_task(store.release(session, [SHARD]))  # type: ignore[arg-type]
        await wait_until_blocked(database)
        assert [(session,)] == await database.execute("SELECT session FROM leases WHERE resource = ?", SHARD)

    await release
    assert [(None,)] == await database.execute("SELECT session FROM leases WHERE resource = ?", SHARD)


async def test_a_renewal_waits_for_no_commit(database: InPostgres, transaction: Transaction) -> None:
    """A large commit must not cost the lease."""
    store = await database.connect()
    session = (await join(store, "a")).session
    with transaction() as commit:
        check_session(commit, session)
        membership = await store.renew(session, ttl=TTL, generation=1, config="c", draining=False)

    assert [session] == [replica.session for replica in membership.replicas]


async def test_the_owner_is_checked_with_its_epoch(database: InPostgres, transaction: Transaction) -> None:
    """As each commit of alerting does."""
    store = await database.connect()
    session = (await join(store, "a")).session
    await store.acquire(session, [ALERTS])
    with transaction() as commit:
        check_owner(commit, session, ALERTS, 1)
        with pytest.raises(LeaseLost, match=f"session {session} does not own alerts with epoch 2 any more"):
            check_owner(commit, session, ALERTS, 2)
        with pytest.raises(SessionLost):
            check_owner(commit, session + 1, ALERTS, 1)


async def test_sessions_expire_by_the_clock_of_the_database(database: InPostgres) -> None:
    """Without any help of a test: a tenth of a second after it has joined."""
    store, other = await database.connect(), await database.connect()
    await join(store, "a", ttl=0.1)
    session = (await join(other, "b")).session

    async def names() -> bool | None:
        membership = await other.renew(session, ttl=TTL, generation=1, config="c", draining=False)
        return ["b"] == [replica.name for replica in membership.replicas] or None

    await poll_until(names, 20, lambda: "the session has not expired")


async def test_rows_of_leases_are_read_only_when_they_have_changed(database: InPostgres) -> None:
    """A renewal each second of many replicas stays cheap; no change is missed."""
    store = await database.connect()
    session = (await join(store, "a")).session

    async def owned() -> set[str]:
        return set((await store.renew(session, ttl=TTL, generation=1, config="c", draining=False)).owners)

    seen = [await owned()]
    for change in (
        store.acquire(session, [SHARD, ALERTS]),
        store.release(session, [SHARD]),
        store.acquire(session, [SHARD]),
        store.release(session, [SHARD, ALERTS]),
    ):
        await change
        seen += [await owned(), await owned()]

    assert [set(), *2 * [{SHARD, ALERTS}], *2 * [{ALERTS}], *2 * [{SHARD, ALERTS}], set(), set()] == seen


async def test_a_database_begins_with_all_resources(database: InPostgres) -> None:
    """So that acquiring one never inserts."""
    rows = await database.execute("SELECT resource, session, epoch FROM leases ORDER BY resource")

    assert [(resource, None, 0) for resource in sorted(RESOURCES)] == rows


async def test_replicas_hand_over_in_a_real_database(database: InPostgres) -> None:
    """Two coordinators share everything; when one leaves, the other has it all."""
    a, b = [Coordinator(await database.connect(), name=name) for name in "ab"]
    async with b:
        async with a:
            await poll_until(lambda: all_is_owned(a, b), 20, lambda: f"{len(a.owned)} and {len(b.owned)} are owned")
        assert frozenset() == a.owned
        await poll_until(lambda: all_is_owned(b), 20, lambda: f"{len(b.owned)} are owned")
    assert [] == await database.execute("SELECT * FROM replicas")


async def all_is_owned(*replicas: Coordinator) -> bool | None:
    """Return whether each resource has one owner, and each replica owns some."""
    owned = [resource for replica in replicas for resource in replica.owned]
    return (sorted(RESOURCES) == sorted(owned) and all(replica.owned for replica in replicas)) or None


async def test_a_connection_that_is_lost_between_renewals_is_replaced(database: InPostgres) -> None:
    """A restart of the database or of a proxy costs no lease."""
    store = await database.connect()
    session = (await join(store, "a")).session
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()"
    )
    membership = await store.renew(session, ttl=TTL, generation=1, config="c", draining=False)

    assert [session] == [replica.session for replica in membership.replicas]
