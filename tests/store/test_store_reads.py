import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store import alert_rows
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from support.store.builders import open_store

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_a_read_cannot_write(store: Store) -> None:
    """The connection is opened for reading only."""
    with pytest.raises(StoreFailing, match="cannot be read: attempt to write a readonly database"):
        await store.read(lambda connection: alert_rows.save_rows(connection, [RowChange("notifications", "a", b"1")]))
    assert (await store.load_rows())["notifications"] == {}


async def test_a_read_is_one_view_however_long_it_takes(store: Store) -> None:
    """What is committed meanwhile is for the next read; neither waits for the other."""
    begun, written = threading.Event(), threading.Event()

    def twice(connection: sqlite3.Connection) -> list[int]:
        first = connection.execute("SELECT count(*) FROM notifications").fetchone()[0]
        begun.set()
        assert written.wait(10)
        return [first, connection.execute("SELECT count(*) FROM notifications").fetchone()[0]]

    reading = asyncio.create_task(store.read(twice))
    await asyncio.to_thread(begun.wait, 10)
    await store.commit([RowChange("notifications", "a", b"1")], [])
    written.set()
    assert await reading == [0, 0]
    assert len((await store.load_rows())["notifications"]) == 1


async def test_an_error_of_the_function_reaches_the_caller(store: Store) -> None:
    """A mistake in the caller's function is the caller's."""
    with pytest.raises(ZeroDivisionError):
        await store.read(lambda _: 1 / 0)
    assert (await store.load_rows())["notifications"] == {}


async def test_an_error_of_sqlite_is_a_failing_store(store: Store) -> None:
    """One exception to catch, whatever is wrong underneath."""
    with pytest.raises(StoreFailing, match="cannot be read: no such table: nowhere"):
        await store.read(lambda connection: connection.execute("SELECT * FROM nowhere"))
    assert (await store.load_rows())["notifications"] == {}


async def test_a_read_that_nobody_waits_for_is_broken_off(store: Store) -> None:
    """A page that was closed does not keep the next one waiting."""
    begun = threading.Event()

    def endless(connection: sqlite3.Connection) -> None:
        begun.set()
        connection.execute(ENDLESS).fetchone()

    reading = asyncio.create_task(store.read(endless))
    await asyncio.to_thread(begun.wait, 10)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (await store.load_rows())["notifications"] == {}


async def test_a_read_has_as_much_time_as_the_store_has_patience(path: Path) -> None:
    """Then it is broken off, and the caller told."""
    store = open_store(path, patience=0.3)
    with pytest.raises(StoreFailing, match=r"^the disk did not respond within 0\.3 s$"):
        await store.read(lambda connection: connection.execute(ENDLESS).fetchone())
    await store.close()


async def test_a_store_closes_over_a_read_that_goes_on(path: Path) -> None:
    """The writer's end does not wait for a reader's."""
    store = open_store(path)
    begun = threading.Event()

    def endless(connection: sqlite3.Connection) -> None:
        begun.set()
        connection.execute(ENDLESS).fetchone()

    reading = asyncio.create_task(store.read(endless))
    await asyncio.to_thread(begun.wait, 10)
    closing = asyncio.create_task(store.close(timeout=1.0))
    await asyncio.sleep(0)
    reading.cancel()
    await closing
    await open_store(path).close()
