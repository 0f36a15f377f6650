import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store import alert_rows, history, worker
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreLost
from support.store.builders import make_outcome, open_store

Fn = Callable[[sqlite3.Connection], None]


def put(key: str, value: bytes = b"1") -> Fn:
    """Return a write of one notification."""
    return lambda connection: alert_rows.save_rows(connection, [RowChange("notifications", key, value)])


async def notifications(store: Store) -> list[str]:
    """Return the keys of the notifications."""
    return sorted((await store.load_rows())["notifications"])


class Gate:
    """A write that blocks the writer thread until the gate is opened."""

    def __init__(self, key: str = "gate") -> None:
        self._put = put(key)
        self._begun = threading.Event()
        self._opened = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Write, then wait for :meth:`open`."""
        self._put(connection)
        self._begun.set()
        assert self._opened.wait(10)

    async def begun(self) -> None:
        """Wait until the thread runs this write."""
        await asyncio.to_thread(self._begun.wait, 10)

    def open(self) -> None:
        """Unblock the thread."""
        self._opened.set()


async def behind_a_gate(store: Store, *writes: Callable[[sqlite3.Connection], object]) -> list[object]:
    """Queue ``writes`` while the thread is blocked, so that they share a commit; return results and errors."""
    gate = Gate()
    first = asyncio.create_task(store.write(gate))
    await gate.begun()
    tasks = [asyncio.create_task(store.write(fn)) for fn in writes]
    await asyncio.sleep(0)
    gate.open()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


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


async def test_queued_writes_share_a_commit(store: Store) -> None:
    """Queued writes need one sync of the disk."""
    statements: list[str] = []
    await store.write(lambda connection: connection.set_trace_callback(statements.append))
    await store.probe()  # completes after the pruning that follows the first write
    statements.clear()
    await behind_a_gate(store, *(put(f"w{number}") for number in range(20)))
    assert statements.count("COMMIT") == 2  # that of the gate, and that of the 20 writes
    assert len(await notifications(store)) == 21


async def test_writes_happen_in_the_order_of_the_calls(store: Store) -> None:
    """The value of the last call is kept."""
    await behind_a_gate(store, *(put("key", str(number).encode()) for number in range(100)))
    assert (await store.load_rows())["notifications"]["key"] == b"99"


async def test_a_failed_write_rolls_back_only_itself(store: Store) -> None:
    """Each write in a shared commit has a separate savepoint."""

    def fails(connection: sqlite3.Connection) -> None:
        put("undone")(connection)
        raise KeyError("an error of the caller")

    def refused(connection: sqlite3.Connection) -> None:
        put("undone, too")(connection)
        connection.execute("INSERT INTO nowhere VALUES (1)")

    results = await behind_a_gate(store, put("before"), fails, refused, put("after"))
    assert [type(result) for result in results] == [type(None), KeyError, StoreFailing, type(None)]
    assert str(results[2]) == "the write failed: no such table: nowhere"
    assert await notifications(store) == ["after", "before", "gate"]
    assert store.is_writable() is True  # errors of a statement do not affect the store


async def test_a_write_that_ends_the_transaction_fails_alone(store: Store) -> None:
    """The write raises StoreFailing, and the others of its commit are repeated without it."""

    def ends(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")

    results = await behind_a_gate(store, put("before"), ends, put("after"))
    assert [type(result) for result in results] == [type(None), StoreFailing, type(None)]
    assert await notifications(store) == ["after", "before", "gate"]


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), asyncio.CancelledError()])
async def test_an_exception_with_a_special_meaning_ends_neither_thread_nor_loop(
    store: Store, error: BaseException
) -> None:
    """SystemExit, StopIteration and CancelledError of a function are wrapped and raised to its caller."""

    def leaves(_: sqlite3.Connection) -> None:
        raise error

    for call in (store.write, store.read):
        with pytest.raises(RuntimeError, match=rf"^a function given to the store raised {type(error).__name__}\("):
            await call(leaves)
    assert await behind_a_gate(store, put("a"), leaves) != [None, None]
    assert await notifications(store) == ["a", "gate"]


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


async def test_an_unresponsive_disk_blocks_neither_the_loop_nor_the_caller(path: Path) -> None:
    """The caller times out, a write that has not started is dropped, and the store recovers."""
    store = open_store(path, timeout=0.5)
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    with pytest.raises(StoreFailing, match=r"^the disk did not respond within 0\.5 s$"):
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


async def test_the_number_of_queued_writes_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a full queue, a further write fails at once."""
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    waiting = [asyncio.create_task(store.write(put("w"))) for _ in range(worker.MAX_QUEUED_WRITES)]
    await asyncio.sleep(0)
    with pytest.raises(StoreFailing, match=r"^the queue is full: 4096 calls wait for the disk$"):
        await store.write(put("one more"))
    gate.open()
    await asyncio.gather(running, *waiting)
    assert await notifications(store) == ["gate", "w"]


async def test_closing_completes_queued_writes_and_accepts_no_more(path: Path) -> None:
    """Writes that were queued before the close are in the store."""
    store = open_store(path)
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
    again = open_store(path)
    assert await notifications(again) == ["gate", "waiting"]
    await again.close()


async def test_closing_is_bounded_by_its_timeout(path: Path) -> None:
    """An unresponsive disk does not prevent the daemon from exiting."""
    store = open_store(path)
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    await store.close(timeout=0.05)
    assert not running.done()
    gate.open()
    await running
    await store.close()


async def test_a_removed_store_is_detected_and_recreated(store: Store, path: Path) -> None:
    """A write to a removed file raises StoreLost, and the next write goes to a new store."""
    await store.write(put("old"))
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    with pytest.raises(
        StoreLost, match=rf"^the store {path} was lost: the file was removed or replaced; the file that"
    ):
        await store.write(put("in vain"))
    await store.write(put("new"))
    assert await notifications(store) == ["new"]
    assert (path.exists(), store.is_writable()) == (True, True)


@pytest.mark.parametrize("companion", ["", "-wal", "-shm"])
async def test_the_removal_of_any_file_of_the_store_is_detected(store: Store, path: Path, companion: str) -> None:
    """Removing the database, its log or its index raises StoreLost."""
    await store.write(put("old"))
    Path(f"{path}{companion}").unlink()
    with pytest.raises(StoreLost):
        await store.write(put("in vain"))
    await store.write(put("new"))
    assert "new" in await notifications(store)


async def test_a_replaced_store_is_used_with_its_new_content(store: Store, path: Path, tmp_path: Path) -> None:
    """After a backup replaces the file, the store raises StoreLost once and uses the backup."""
    backup = open_store(tmp_path / "backup.db")
    await backup.write(put("from the backup"))
    await backup.close()
    await store.write(put("old"))
    shutil.copy(backup.backend.path, tmp_path / "copy.db")
    (tmp_path / "copy.db").replace(path)
    with pytest.raises(StoreLost):
        await store.write(put("in vain"))
    await store.write(put("new"))
    assert await notifications(store) == ["from the backup", "new"]


async def test_the_store_recovers_when_its_directory_returns(tmp_path: Path) -> None:
    """While a volume is detached, every write fails with the reason; once it returns, writes succeed."""
    folder = tmp_path / "volume"
    folder.mkdir()
    store = open_store(folder / "canary.db")
    folder.rename(tmp_path / "gone")
    for _ in range(2):
        with pytest.raises(StoreFailing, match=r"is unavailable.*; it cannot be reopened: store\.path: .*/volume"):
            await store.write(put("in vain"))
    assert (store.is_writable(), await store.probe()) == (False, False)
    with pytest.raises(StoreFailing, match="cannot be read"):
        await store.load_rows()
    folder.mkdir()
    with pytest.raises(StoreLost):  # owners of state in memory must write it again
        await store.write(put("in vain"))
    await store.write(put("new"))
    assert (await notifications(store), store.is_writable()) == (["new"], True)
    await store.close()


async def test_a_store_that_becomes_corrupt_while_in_use_is_renamed(store: Store, path: Path) -> None:
    """The store is replaced by a new one without a restart."""
    await store.commit([RowChange("notifications", f"k{number}", b"x" * 500) for number in range(200)], [])
    await store.write(lambda connection: connection.execute("PRAGMA cache_size = 0"))  # so that pages are read again
    await store.read(alert_rows.load_rows)
    await store.backend._write_worker.submit(lambda connection: None)
    corrupt_in_place(path)
    with pytest.raises(StoreFailing):
        await store.write(
            lambda connection: connection.execute("SELECT sum(length(value)) FROM notifications").fetchall()
        )
    assert store.backend.corrupt_path is not None
    await store.write(put("new"))
    assert await notifications(store) == ["new"]


def corrupt_in_place(path: Path) -> None:
    """Overwrite all pages but the first, in database and log, as a failing disk would."""
    for file, keep in ((path, 4096), (Path(f"{path}-wal"), 32)):
        size = file.stat().st_size
        with file.open("r+b") as content:
            content.seek(keep)
            content.write(b"\xa5" * max(0, size - keep))


async def test_many_tasks_can_write_concurrently(store: Store) -> None:
    """Concurrent commits of 300 tasks are all saved, because one thread runs all transactions."""
    await asyncio.gather(
        *(store.commit([RowChange("notifications", f"n{n}", b"1")], [make_outcome(n)]) for n in range(300))
    )
    assert len(await notifications(store)) == 300
    assert len(await store.read(lambda connection: history.recent_runs(connection, limit=1000))) == 300
