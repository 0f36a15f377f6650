import asyncio
import threading

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from streamcanary.store.tables import alert_rows
from support.alerting.builders import good
from support.store.databases import Database


async def test_a_read_cannot_write(store: Store, database: Database) -> None:
    """A write in a read raises StoreFailing."""
    with pytest.raises(StoreFailing, match=f"cannot be read: {database.read_only}"):
        await store.read(lambda connection: alert_rows.save_rows(connection, [RowChange("notifications", "a", b"1")]))
    assert (await store.load_rows())["notifications"] == {}


async def test_a_read_sees_one_consistent_snapshot(store: Store) -> None:
    """A commit during a read is visible to the next read only, and neither waits for the other."""
    begun, written = threading.Event(), threading.Event()

    def twice(connection: Connection) -> list[int]:
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


async def test_an_error_of_the_database_raises_store_failing(store: Store, database: Database) -> None:
    """Every error of a statement is raised as StoreFailing."""
    with pytest.raises(StoreFailing, match=f"cannot be read: {database.missing_table}"):
        await store.read(lambda connection: connection.execute("SELECT * FROM nowhere"))
    assert (await store.load_rows())["notifications"] == {}


async def test_a_read_of_a_cancelled_caller_is_aborted(store: Store, database: Database) -> None:
    """A cancelled read does not delay the next one."""
    begun = threading.Event()

    def endless(connection: Connection) -> None:
        begun.set()
        connection.execute(database.endless_query).fetchone()

    reading = asyncio.create_task(store.read(endless))
    await asyncio.to_thread(begun.wait, 10)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (await store.load_rows())["notifications"] == {}


async def test_a_read_is_aborted_after_the_timeout(database: Database) -> None:
    """A read that exceeds the timeout raises StoreFailing."""
    store = database.open(timeout=0.3)
    with pytest.raises(StoreFailing, match=rf"^{database.medium} did not respond within 0\.3 s$"):
        await store.read(lambda connection: connection.execute(database.endless_query).fetchone())
    await store.close()


async def test_a_store_closes_during_a_running_read(database: Database) -> None:
    """Closing the store does not wait for a running read."""
    store = database.open()
    begun = threading.Event()

    def endless(connection: Connection) -> None:
        begun.set()
        connection.execute(database.endless_query).fetchone()

    reading = asyncio.create_task(store.read(endless))
    await asyncio.to_thread(begun.wait, 10)
    closing = asyncio.create_task(store.close(timeout=1.0))
    await asyncio.sleep(0)
    reading.cancel()
    await closing
    await database.open().close()


async def test_runs_are_read_in_parts_in_the_order_of_their_ends(database: Database) -> None:
    """Each part begins after the last row of the one before, and the last part has no row."""
    store = database.open()
    await store.commit((), [good(number) for number in range(7)])
    last: int | None = await store.row_before_last(5)
    parts = []
    while last is not None:
        runs, last = await store.runs_after(last, 2)
        parts.append([run.run_id for run in runs])
    await store.close()
    assert parts == [[good(number).run_id for number in numbers] for numbers in ([2, 3], [4, 5], [6], [])]


async def test_new_runs_are_those_that_are_not_known(database: Database) -> None:
    """Rows after one are read, and the runs in them that are not among the known ids; a limit counts rows."""
    store = database.open()
    await store.commit([], [good(number) for number in range(5)])
    first = await store.row_before_last(4)
    runs, rows = await store.new_runs(first, {good(2).run_id}, 3)
    await store.close()
    assert [good(1).run_id, good(3).run_id] == [run.run_id for run in runs]
    assert [good(number).run_id for number in (1, 2, 3)] == [run_id for _, run_id in rows]
