"""The server or the network fails while the store is in use: calls fail with the reason, and later ones succeed."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreLost
from streamcanary.store.postgres import transactions
from streamcanary.store.postgres.backend import PostgresBackend
from streamcanary.store.tables import alert_rows
from support.postgresql.cluster import Cluster
from support.servers.tcp_proxy import TcpProxy
from support.store.databases import PostgresDatabase
from support.store.gate import Gate, behind_a_gate, notifications, put

ROWS = [RowChange("notifications", "a", b"1")]


@pytest.fixture
def proxy(postgresql: Cluster) -> Iterator[TcpProxy]:
    """Provide the network between the store and the server."""
    with TcpProxy(postgresql.port) as proxy:
        yield proxy


@pytest.fixture
async def remote_store(database: PostgresDatabase, postgresql: Cluster, proxy: TcpProxy) -> AsyncIterator[Store]:
    """Provide a store behind the network, with calls of half a second."""
    url = database.url.replace(f":{postgresql.port}/", f":{proxy.port}/")
    store = PostgresDatabase(url).open(timeout=0.5)
    await store.commit(ROWS, [])
    yield store
    await store.close()


def terminate(url: str) -> None:
    """End all connections to the database, as an administrator or a restart does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_a_restart_of_the_server_between_two_calls_fails_none_of_them(own_postgresql: Cluster) -> None:
    """The closed connection is noticed before anything was sent on it."""
    with own_postgresql.database() as url:
        store = PostgresDatabase(url).open()
        await store.commit(ROWS, [])
        assert ["a"] == await notifications(store)
        own_postgresql.restart()
        await store.write(put("b"))
        assert ["a", "b"] == await notifications(store)
        await store.close()


async def test_what_was_acknowledged_survives_a_kill_of_the_server(own_postgresql: Cluster) -> None:
    """Calls fail while the server is down, with the reason, and the store recovers with it."""
    with own_postgresql.database() as url:
        store = PostgresDatabase(url).open()
        await store.commit(ROWS, [])
        own_postgresql.kill()
        for call in (store.write(put("lost")), store.load_rows()):
            with pytest.raises(StoreFailing, match=r"[Cc]onnection refused.*; start the server"):
                await call
        assert (store.is_writable(), await store.probe()) == (False, False)
        own_postgresql.start()
        await store.write(put("b"))
        assert (["a", "b"], True) == (await notifications(store), store.is_writable())
        await store.close()


async def test_idle_connections_that_were_closed_are_replaced(store: Store, database: PostgresDatabase) -> None:
    """Those of all threads."""
    backend = store.backend
    assert isinstance(backend, PostgresBackend)
    for number in range(3):
        await asyncio.gather(store.write(put(f"a{number}")), backend.write_apart(put(f"b{number}")))
        assert 2 * number + 2 == len(await notifications(store))
        terminate(database.url)


async def test_a_connection_that_breaks_within_a_transaction_fails_the_writes_of_that(
    remote_store: Store, proxy: TcpProxy
) -> None:
    """None of them is saved, and the next ones are."""

    def breaks(connection: Connection) -> None:
        put("undone")(connection)
        proxy.reset()
        put("undone, too")(connection)

    results = await behind_a_gate(remote_store, put("before"), breaks, put("after"))
    assert [StoreFailing] * 3 == [type(result) for result in results]
    assert "cannot be written: " in str(results[0])
    await remote_store.write(put("later"))
    assert ["a", "gate", "later"] == await notifications(remote_store)


async def test_a_network_that_swallows_everything_blocks_nobody(remote_store: Store, proxy: TcpProxy) -> None:
    """Callers time out, a thread gives up its connection, and all work again once the network does."""
    proxy.cut()
    for call in (remote_store.write(put("unknown")), remote_store.load_rows()):
        with pytest.raises(StoreFailing, match=r"^the database did not respond within 0\.5 s$"):
            await call
    assert remote_store.is_writable() is False
    proxy.heal()
    while not await remote_store.probe():
        pass
    await remote_store.write(put("later"))
    assert {"a", "later"} <= set(await notifications(remote_store))


async def test_closing_is_bounded_without_a_network(remote_store: Store, proxy: TcpProxy) -> None:
    """A write that is never answered does not keep the daemon from exiting."""
    gate = Gate()
    running = asyncio.create_task(remote_store.write(gate))
    await gate.begun()
    proxy.cut()
    gate.open()
    await remote_store.close(timeout=0.1)
    with pytest.raises(StoreFailing):
        await running
    proxy.heal()


@pytest.mark.parametrize("row_count", [1, 9], ids=["one row", "rows that are sent at once"])
async def test_a_transaction_that_stands_still_is_ended_by_the_server(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, row_count: int
) -> None:
    """A frozen process keeps no locks that others wait for."""
    monkeypatch.setattr(transactions.begin_statements, "__kwdefaults__", {"max_idle": 50})
    store = database.open()
    await store.commit(ROWS, [])
    rows = [RowChange("notifications", "abcdefghi"[number], b"1") for number in range(row_count)]
    begun, ended = threading.Event(), threading.Event()

    def freezes(connection: Connection) -> None:
        alert_rows.save_rows(connection, rows)
        begun.set()
        assert ended.wait(10)
        put("later")(connection)

    frozen = asyncio.create_task(store.write(freezes))
    await asyncio.to_thread(begun.wait, 10)
    other = database.open()
    await other.write(put("a", b"2"))  # waits for the lock of the frozen transaction
    ended.set()
    with pytest.raises(StoreFailing, match="cannot be written: "):
        await frozen
    assert b"2" == (await store.load_rows())["notifications"]["a"]
    await store.write(put("b"))
    await other.close()
    await store.close()


async def test_a_write_apart_does_not_wait_for_the_queue(store: Store) -> None:
    """The renewal of a lease is made while a commit hangs."""
    backend = store.backend
    assert isinstance(backend, PostgresBackend)
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    await backend.write_apart(put("apart"))
    assert ["apart"] == await notifications(store)
    gate.open()
    await running
    assert ["apart", "gate"] == await notifications(store)


async def test_two_reads_run_at_once(store: Store) -> None:
    """A long read of the status page delays no other one."""
    begun, ended = threading.Event(), threading.Event()

    def long(connection: Connection) -> int:
        begun.set()
        assert ended.wait(10)
        return int(connection.execute("SELECT 7").fetchone()[0])

    reading = asyncio.create_task(store.read(long))
    await asyncio.to_thread(begun.wait, 10)
    assert [] == await notifications(store)
    ended.set()
    assert 7 == await reading


@pytest.mark.parametrize("is_connected", [True, False])
async def test_a_schema_that_was_dropped_is_created_again(
    store: Store, database: PostgresDatabase, *, is_connected: bool
) -> None:
    """Each owner of state in memory gets StoreLost once, and writes all of it again."""
    await store.commit(ROWS, [])
    if not is_connected:
        terminate(database.url)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA streamcanary CASCADE")
    for write in (lambda: store.commit(ROWS, []), lambda: store.save_spend({})):
        with pytest.raises(StoreLost, match=r"^the store postgresql://.* was lost; the one that is there now is used"):
            await write()
        await write()
    assert ["a"] == await notifications(store)


async def test_a_schema_that_another_replica_has_created_again_is_noticed(
    store: Store, database: PostgresDatabase
) -> None:
    """The tables look the same, and are empty."""
    await store.commit(ROWS, [])
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA streamcanary CASCADE")
    await database.open().close()
    with pytest.raises(StoreLost):
        await store.commit(ROWS, [])
    await store.commit(ROWS, [])


async def test_a_schema_that_a_later_version_has_migrated_is_not_written(
    store: Store, database: PostgresDatabase
) -> None:
    """A rolling update migrates it while replicas of the former version run."""
    await store.commit(ROWS, [])
    assert ["a"] == await notifications(store)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("UPDATE streamcanary.schema_version SET version = 8")
    for call in (store.commit([], []), store.load_rows()):
        with pytest.raises(StoreFailing, match="has schema version 8, and this streamcanary supports versions up to 7"):
            await call
    assert store.is_writable() is False
