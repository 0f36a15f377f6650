"""A database that is replaced while replicas use it: by an empty one, a backup, or a standby that lags behind."""

import pytest

from streamcanary.model.replicas import ALERTS
from streamcanary.store.errors import SessionLost, StoreFailing
from support.store.lease_databases import TTL, InPostgres, in_postgres, join


async def renew_twice(database: InPostgres, session: int) -> None:
    """Renew a session of the former database; the first call may find the connection to it."""
    store = await database.connect()
    for _ in range(2):
        try:
            await store.renew(session, ttl=TTL, generation=1, config="c", draining=False)
        except StoreFailing:
            continue


async def test_a_session_of_the_former_database_is_not_one_of_the_next(postgres_url: str) -> None:
    """Otherwise two replicas would renew the same session, and both own what it owns."""
    async with in_postgres(postgres_url) as database:
        former = await join(await database.connect(), "a")
        await database.execute("DROP SCHEMA streamcanary CASCADE")
        other_store = await database.connect()
        other = await join(other_store, "b")
        await other_store.acquire(other.session, [ALERTS])

        with pytest.raises(SessionLost):
            await renew_twice(database, former.session)


async def test_a_join_that_a_standby_has_not_received_is_not_repeated(postgres_url: str) -> None:
    """After a failover that loses commits, the number of a lost session is not given to another replica."""
    async with in_postgres(postgres_url) as database:
        store = await database.connect()
        lost = await join(store, "a")
        await database.execute("DELETE FROM replicas")
        await database.execute("ALTER SEQUENCE replicas_session_seq RESTART")
        other = await join(store, "b")

        assert lost.session < other.session
        with pytest.raises(SessionLost):
            await renew_twice(database, lost.session)


async def test_sessions_grow_though_the_clock_of_the_database_was_set_back(postgres_url: str) -> None:
    """The order of sessions is that in which replicas have joined; numbers stay exact in JSON."""
    async with in_postgres(postgres_url) as database:
        store = await database.connect()
        await join(store, "a")
        await database.execute("UPDATE replicas SET session = 9000000000000000")
        assert 9_000_000_000_000_001 == (await join(store, "b")).session
