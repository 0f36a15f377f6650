import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store import alert_rows
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from support.alerting.builders import good
from support.store.builders import open_store

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_a_read_cannot_write(store: Store) -> None:
    """A write through the read-only connection raises StoreFailing."""
    with pytest.raises(StoreFailing, match="cannot be read: attempt to write a readonly database"):
        await store.read(lambda connection: alert_rows.save_rows(connection, [RowChange("notifications", "a", b"1")]))
    assert (await store.load_rows())["notifications"] == {}


async def test_a_read_sees_one_consistent_snapshot(store: Store) -> None:
    """A commit during a read is visible to the next read only, and neither waits for the other."""
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
    """An exception of the function is raised to the caller, and the store continues to work."""
    with pytest.raises(ZeroDivisionError):
        await store.read(lambda _: 1 / 0)
    assert (await store.load_rows())["notifications"] == {}


async def test_an_error_of_sqlite_raises_store_failing(store: Store) -> None:
    """Every SQLite error is raised as StoreFailing."""
    with pytest.raises(StoreFailing, match="cannot be read: no such table: nowhere"):
        await store.read(lambda connection: connection.execute("SELECT * FROM nowhere"))
    assert (await store.load_rows())["notifications"] == {}


async def test_a_read_of_a_cancelled_caller_is_aborted(store: Store) -> None:
    """A cancelled read does not delay the next one."""
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


async def test_a_read_is_aborted_after_the_timeout(path: Path) -> None:
    """A read that exceeds the timeout raises StoreFailing."""
    store = open_store(path, timeout=0.3)
    with pytest.raises(StoreFailing, match=r"^the disk did not respond within 0\.3 s$"):
        await store.read(lambda connection: connection.execute(ENDLESS).fetchone())
    await store.close()


async def test_a_store_closes_during_a_running_read(path: Path) -> None:
    """Closing the store does not wait for a running read."""
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


async def test_runs_are_read_in_parts_in_the_order_of_their_ends(path: Path) -> None:
    """Each part begins after the last row of the one before, and the last part has no row."""
    store = open_store(path)
    await store.commit((), [good(number) for number in range(7)])
    last: int | None = await store.row_before_last(5)
    parts = []
    while last is not None:
        runs, last = await store.runs_after(last, 2)
        parts.append([run.run_id for run in runs])
    await store.close()
    assert parts == [[good(number).run_id for number in numbers] for numbers in ([2, 3], [4, 5], [6], [])]
