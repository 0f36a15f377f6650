import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store import alert_rows, database, history
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreLost
from support.store.builders import make_outcome, open_store

Fn = Callable[[sqlite3.Connection], None]


def put(key: str, value: bytes = b"1") -> Fn:
    """Return a write of one notice."""
    return lambda connection: alert_rows.save_rows(connection, [RowChange("notifications", key, value)])


async def notices(store: Store) -> list[str]:
    """Return the keys of the notices."""
    return sorted((await store.load_rows())["notifications"])


class Gate:
    """A write that keeps the writer thread busy until it is opened."""

    def __init__(self, key: str = "gate") -> None:
        self._put = put(key)
        self._begun = threading.Event()
        self._opened = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Write, and wait."""
        self._put(connection)
        self._begun.set()
        assert self._opened.wait(10)

    async def begun(self) -> None:
        """Wait until the thread is at it."""
        await asyncio.to_thread(self._begun.wait, 10)

    def open(self) -> None:
        """Let the thread go on."""
        self._opened.set()


async def behind_a_gate(store: Store, *writes: Callable[[sqlite3.Connection], object]) -> list[object]:
    """Make ``writes`` while the thread is busy, so that all of them are in one commit; return answers and errors."""
    gate = Gate()
    first = asyncio.create_task(store.write(gate))
    await gate.begun()
    tasks = [asyncio.create_task(store.write(fn)) for fn in writes]
    await asyncio.sleep(0)
    gate.open()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_write_returns_what_its_function_returns(store: Store) -> None:
    """So that a transaction can also read."""
    assert await store.write(lambda connection: connection.execute("SELECT 6 * 7").fetchone()) == (42,)


async def test_a_write_is_there_for_the_reader_once_it_is_answered(store: Store) -> None:
    """Two connections, one truth."""
    await store.write(put("a"))
    assert await notices(store) == ["a"]


async def test_rows_and_runs_are_committed_together(store: Store) -> None:
    """An alert's transition and the run that caused it are one transaction: neither without the other."""
    unsavable = RowChange("notifications", "b", "no bytes, and no text \ud800")  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        await store.commit([RowChange("notifications", "a", b"1"), unsavable], [make_outcome(1)])
    assert (await notices(store), await store.read(history.recent_runs)) == ([], [])
    await store.commit([RowChange("notifications", "a", b"1")], [make_outcome(1)])
    assert (await notices(store), await store.read(history.recent_runs)) == (["a"], [make_outcome(1)])


async def test_writes_that_wait_share_a_commit(store: Store) -> None:
    """One sync of the disk for all of them."""
    statements: list[str] = []
    await store.write(lambda connection: connection.set_trace_callback(statements.append))
    await store.probe()  # the pruning that follows the first write is over
    statements.clear()
    await behind_a_gate(store, *(put(f"w{number}") for number in range(20)))
    assert statements.count("COMMIT") == 2  # the gate's, and theirs
    assert len(await notices(store)) == 21


async def test_writes_happen_in_the_order_of_the_calls(store: Store) -> None:
    """The last one called is the value that stays."""
    await behind_a_gate(store, *(put("key", str(number).encode()) for number in range(100)))
    assert (await store.load_rows())["notifications"]["key"] == b"99"


async def test_a_write_that_fails_undoes_itself_and_no_other(store: Store) -> None:
    """Each write in a shared commit has a savepoint of its own."""

    def fails(connection: sqlite3.Connection) -> None:
        put("undone")(connection)
        raise KeyError("a mistake of the caller")

    def refused(connection: sqlite3.Connection) -> None:
        put("undone, too")(connection)
        connection.execute("INSERT INTO nowhere VALUES (1)")

    answers = await behind_a_gate(store, put("before"), fails, refused, put("after"))
    assert [type(answer) for answer in answers] == [type(None), KeyError, StoreFailing, type(None)]
    assert str(answers[2]) == "the write failed: no such table: nowhere"
    assert await notices(store) == ["after", "before", "gate"]
    assert store.is_writable() is True  # nothing is wrong with the store


async def test_a_write_that_ends_the_transaction_harms_no_other(store: Store) -> None:
    """It is told so, and those that shared its commit are done again without it."""

    def ends(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")

    answers = await behind_a_gate(store, put("before"), ends, put("after"))
    assert [type(answer) for answer in answers] == [type(None), StoreFailing, type(None)]
    assert await notices(store) == ["after", "before", "gate"]


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), asyncio.CancelledError()])
async def test_an_error_that_means_something_to_a_thread_or_a_loop_ends_neither(
    store: Store, error: BaseException
) -> None:
    """A mistake in a function is told to whoever asked, and stays there."""

    def leaves(_: sqlite3.Connection) -> None:
        raise error

    for call in (store.write, store.read):
        with pytest.raises(RuntimeError, match=rf"^a function given to the store raised {type(error).__name__}\("):
            await call(leaves)
    assert await behind_a_gate(store, put("a"), leaves) != [None, None]
    assert await notices(store) == ["a", "gate"]


async def test_a_caller_that_is_cancelled_does_not_break_the_transaction(store: Store) -> None:
    """It stops waiting; what it handed over is written, whole."""
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
    assert await notices(store) == ["gate", "later", "waiting"]


async def test_a_disk_that_is_silent_holds_up_neither_the_loop_nor_the_caller(path: Path) -> None:
    """The caller is told after its patience; a write that had not begun is dropped; the store recovers."""
    store = open_store(path, patience=0.5)
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    with pytest.raises(StoreFailing, match=r"^the disk did not respond within 0\.5 s$"):
        await store.write(put("dropped"))
    with pytest.raises(StoreFailing, match="did not respond"):
        await running
    assert store.is_writable() is False
    gate.open()
    for _ in range(20):  # the first may be told of the patience that ran out before
        if await store.probe():
            break
    assert store.is_writable() is True
    assert await notices(store) == ["gate"]
    await store.close()


async def test_the_number_of_writes_that_wait_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow behind a silent disk: the write over the bound fails at once."""
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    waiting = [asyncio.create_task(store.write(put("w"))) for _ in range(database._MAX_QUEUED_WRITES)]
    await asyncio.sleep(0)
    with pytest.raises(StoreFailing, match=r"^the queue is full: 4096 calls wait for the disk$"):
        await store.write(put("one more"))
    gate.open()
    await asyncio.gather(running, *waiting)
    assert await notices(store) == ["gate", "w"]


async def test_closing_does_the_writes_that_wait_and_takes_no_more(path: Path) -> None:
    """What was handed over before the end is in the store."""
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
    await store.close()  # again: nothing happens
    again = open_store(path)
    assert await notices(again) == ["gate", "waiting"]
    await again.close()


async def test_closing_does_not_wait_for_ever(path: Path) -> None:
    """A disk that does not answer must not keep the daemon from ending."""
    store = open_store(path)
    gate = Gate()
    running = asyncio.create_task(store.write(gate))
    await gate.begun()
    await store.close(timeout=0.05)
    assert not running.done()
    gate.open()
    await running
    await store.close()


async def test_a_store_that_is_removed_is_noticed_and_begun_again(store: Store, path: Path) -> None:
    """What goes into a file without a name is lost: it is not acknowledged, and the next write is in a fresh store."""
    await store.write(put("old"))
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    with pytest.raises(
        StoreLost, match=rf"^the store {path} was lost: the file was removed or replaced; the file that"
    ):
        await store.write(put("in vain"))
    await store.write(put("new"))
    assert await notices(store) == ["new"]
    assert (path.exists(), store.is_writable()) == (True, True)


@pytest.mark.parametrize("companion", ["", "-wal", "-shm"])
async def test_each_file_of_a_store_matters(store: Store, path: Path, companion: str) -> None:
    """Also a log without a name would lose what is in it."""
    await store.write(put("old"))
    Path(f"{path}{companion}").unlink()
    with pytest.raises(StoreLost):
        await store.write(put("in vain"))
    await store.write(put("new"))
    assert "new" in await notices(store)


async def test_a_store_that_is_replaced_is_used_as_it_is_then(store: Store, path: Path, tmp_path: Path) -> None:
    """Somebody has put a backup in its place."""
    backup = open_store(tmp_path / "backup.db")
    await backup.write(put("from the backup"))
    await backup.close()
    await store.write(put("old"))
    shutil.copy(backup.path, tmp_path / "copy.db")
    (tmp_path / "copy.db").replace(path)
    with pytest.raises(StoreLost):
        await store.write(put("in vain"))
    await store.write(put("new"))
    assert await notices(store) == ["from the backup", "new"]


async def test_a_directory_that_goes_and_comes_back_is_survived(tmp_path: Path) -> None:
    """A volume that is detached for a while: every write fails and says why, until one finds it again."""
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
    with pytest.raises(StoreLost):  # whoever has state in memory must hear of it
        await store.write(put("in vain"))
    await store.write(put("new"))
    assert (await notices(store), store.is_writable()) == (["new"], True)
    await store.close()


async def test_a_store_that_turns_corrupt_while_in_use_is_set_aside(store: Store, path: Path) -> None:
    """The daemon does not need a restart to get a store that works."""
    await store.commit([RowChange("notifications", f"k{number}", b"x" * 500) for number in range(200)], [])
    await store.write(lambda connection: connection.execute("PRAGMA cache_size = 0"))  # so that pages are read again
    await store.read(alert_rows.load_rows)
    await store._write_worker.submit(lambda connection: None)
    corrupt_in_place(path)
    with pytest.raises(StoreFailing):
        await store.write(
            lambda connection: connection.execute("SELECT sum(length(value)) FROM notifications").fetchall()
        )
    assert store.corrupt_path is not None
    await store.write(put("new"))
    assert await notices(store) == ["new"]


def corrupt_in_place(path: Path) -> None:
    """Overwrite all pages but the first, in database and log, as a failing disk would."""
    for file, keep in ((path, 4096), (Path(f"{path}-wal"), 32)):
        size = file.stat().st_size
        with file.open("r+b") as content:
            content.seek(keep)
            content.write(b"\xa5" * max(0, size - keep))


async def test_many_tasks_can_write_at_once(store: Store) -> None:
    """One connection used from two tasks is "cannot start a transaction within a transaction"; one thread is not."""
    await asyncio.gather(
        *(store.commit([RowChange("notifications", f"n{n}", b"1")], [make_outcome(n)]) for n in range(300))
    )
    assert len(await notices(store)) == 300
    assert len(await store.read(lambda connection: history.recent_runs(connection, limit=1000))) == 300
