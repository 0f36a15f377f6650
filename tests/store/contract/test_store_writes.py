import asyncio
import gc
import threading

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store import worker
from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from streamcanary.store.tables import history
from support.store.builders import make_outcome
from support.store.databases import Database
from support.store.gate import Gate, behind_a_gate, notifications, put


async def test_a_write_returns_the_result_of_its_function(store: Store) -> None:
    """A transaction can read and return data."""
    assert await store.write(lambda connection: connection.execute("SELECT 6 * 7").fetchone()) == (42,)


async def test_an_acknowledged_write_is_visible_to_reads(store: Store) -> None:
    """The read connection sees a write as soon as the write has returned."""
    await store.write(put("a"))
    assert await notifications(store) == ["a"]


async def test_rows_and_runs_are_committed_together(store: Store) -> None:
    """The rows of an alert transition and the run that caused it are saved in one transaction."""
    unsavable = RowChange("notifications", "b", "no bytes, and no text \ud800")  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        await store.commit([RowChange("notifications", "a", b"1"), unsavable], [make_outcome(1)])
    assert (await notifications(store), await store.read(history.recent_runs)) == ([], [])
    await store.commit([RowChange("notifications", "a", b"1")], [make_outcome(1)])
    assert (await notifications(store), await store.read(history.recent_runs)) == (["a"], [make_outcome(1)])


async def test_writes_happen_in_the_order_of_the_calls(store: Store) -> None:
    """The value of the last call is kept."""
    await behind_a_gate(store, *(put("key", str(number).encode()) for number in range(100)))
    assert (await store.load_rows())["notifications"]["key"] == b"99"


async def test_a_failed_write_rolls_back_only_itself(store: Store, database: Database) -> None:
    """Each write in a shared commit has a separate savepoint."""

    def fails(connection: Connection) -> None:
        put("undone")(connection)
        raise KeyError("an error of the caller")

    def refused(connection: Connection) -> None:
        put("undone, too")(connection)
        connection.execute("INSERT INTO nowhere VALUES (1)")

    results = await behind_a_gate(store, put("before"), fails, refused, put("after"))
    assert [type(result) for result in results] == [type(None), KeyError, StoreFailing, type(None)]
    assert str(results[2]) == f"the write failed: {database.missing_table}"
    assert await notifications(store) == ["after", "before", "gate"]
    assert store.is_writable() is True  # errors of a statement do not affect the store


async def test_a_write_that_ends_the_transaction_fails_alone(store: Store) -> None:
    """The write raises StoreFailing, and the others of its commit are repeated without it."""

    def ends(connection: Connection) -> None:
        connection.execute("ROLLBACK")

    results = await behind_a_gate(store, put("before"), ends, put("after"))
    assert [type(result) for result in results] == [type(None), StoreFailing, type(None)]
    assert await notifications(store) == ["after", "before", "gate"]


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), asyncio.CancelledError()])
async def test_an_exception_with_a_special_meaning_ends_neither_thread_nor_loop(
    store: Store, error: BaseException
) -> None:
    """SystemExit, StopIteration and CancelledError of a function are wrapped and raised to its caller."""

    def leaves(_: Connection) -> None:
        raise error

    for call in (store.write, store.read):
        with pytest.raises(RuntimeError, match=rf"^a function given to the store raised {type(error).__name__}\("):
            await call(leaves)
    assert await behind_a_gate(store, put("a"), leaves) != [None, None]
    assert await notifications(store) == ["a", "gate"]


async def test_an_error_after_the_caller_has_given_up_is_not_logged_with_a_traceback(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nobody to raise it to; the caller that gave up has reported that."""
    begun, opened = threading.Event(), threading.Event()

    def fail(connection: Connection) -> None:
        begun.set()
        assert opened.wait(10)
        raise ValueError("too late")

    writing = asyncio.create_task(store.write(fail))
    await asyncio.to_thread(begun.wait, 10)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    opened.set()
    await store.write(put("later"))
    del writing
    gc.collect()

    assert [] == [record.getMessage() for record in caplog.records if record.name == "asyncio"]


async def test_cancelling_a_caller_does_not_cancel_its_write(store: Store) -> None:
    """A cancelled caller stops waiting, and its write is completed."""
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    waiting = asyncio.create_task(store.write(put("waiting")))
    await asyncio.sleep(0)
    running.cancel()
    waiting.cancel()
    assert [type(end) for end in await asyncio.gather(running, waiting, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * 2
    gate.open()
    await store.write(put("later"))
    assert await notifications(store) == ["gate", "later", "waiting"]


async def test_an_unresponsive_disk_blocks_neither_the_loop_nor_the_caller(database: Database) -> None:
    """The caller times out, a write that has not started is dropped, and the store recovers."""
    store = database.open(timeout=0.5)
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    with pytest.raises(StoreFailing, match=rf"^{database.medium} did not respond within 0\.5 s$"):
        await store.write(put("dropped"))
    with pytest.raises(StoreFailing, match="did not respond"):
        await running
    assert store.is_writable() is False
    gate.open()
    for _ in range(20):  # the first probe may still see the earlier timeout
        if await store.probe():
            break
    assert store.is_writable() is True
    assert await notifications(store) == ["gate"]
    await store.close()


async def test_the_number_of_queued_writes_is_bounded(store: Store, database: Database) -> None:
    """With a full queue, a further write fails at once."""
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    waiting = [asyncio.create_task(store.write(put("w"))) for _ in range(worker.MAX_QUEUED_WRITES)]
    await asyncio.sleep(0)
    with pytest.raises(StoreFailing, match=rf"^the queue is full: 4096 calls wait for {database.medium}$"):
        await store.write(put("one more"))
    gate.open()
    await asyncio.gather(running, *waiting)
    assert await notifications(store) == ["gate", "w"]


async def test_closing_completes_queued_writes_and_accepts_no_more(database: Database) -> None:
    """Writes that were queued before the close are in the store."""
    store = database.open()
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    waiting = asyncio.create_task(store.write(put("waiting")))
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.close())
    gate.open()
    await asyncio.gather(running, waiting, closing)
    for call in (store.write(put("late")), store.load_rows()):
        with pytest.raises(StoreFailing, match=r"^the store is closed$"):
            await call
    await store.close()  # a second call does nothing
    again = database.open()
    assert await notifications(again) == ["gate", "waiting"]
    await again.close()


async def test_closing_is_bounded_by_its_timeout(database: Database) -> None:
    """An unresponsive disk does not prevent the daemon from exiting."""
    store = database.open()
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    await store.close(timeout=0.05)
    assert not running.done()
    gate.open()
    await running
    await store.close()


async def test_many_tasks_can_write_concurrently(store: Store) -> None:
    """Concurrent commits of 300 tasks are all saved, because one thread runs all transactions."""
    await asyncio.gather(
        *(store.commit([RowChange("notifications", f"n{n}", b"1")], [make_outcome(n)]) for n in range(300))
    )
    assert len(await notifications(store)) == 300
    assert len(await store.read(lambda connection: history.recent_runs(connection, limit=1000))) == 300
