"""The file of the store while it is in use: removed, replaced, detached, corrupt."""

import shutil
import sqlite3
from pathlib import Path
from typing import cast

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing, StoreLost
from streamcanary.store.tables import alert_rows
from support.store.builders import corrupt_path, open_store, sqlite_backend
from support.store.gate import behind_a_gate, notifications, put


async def test_queued_writes_share_a_commit(store: Store) -> None:
    """Queued writes need one sync of the disk."""
    statements: list[str] = []
    await store.write(lambda connection: cast("sqlite3.Connection", connection).set_trace_callback(statements.append))
    await store.probe()  # completes after the pruning that follows the first write
    statements.clear()
    await behind_a_gate(store, *(put(f"w{number}") for number in range(20)))
    assert statements.count("COMMIT") == 2  # that of the gate, and that of the 20 writes
    assert len(await notifications(store)) == 21


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
    shutil.copy(backup.location, tmp_path / "copy.db")
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
    await sqlite_backend(store)._write_worker.submit(lambda connection: None)
    corrupt_in_place(path)
    with pytest.raises(StoreFailing):
        await store.write(
            lambda connection: connection.execute("SELECT sum(length(value)) FROM notifications").fetchall()
        )
    assert corrupt_path(store) is not None
    await store.write(put("new"))
    assert await notifications(store) == ["new"]


def corrupt_in_place(path: Path) -> None:
    """Overwrite all pages but the first, in database and log, as a failing disk would."""
    for file, keep in ((path, 4096), (Path(f"{path}-wal"), 32)):
        size = file.stat().st_size
        with file.open("r+b") as content:
            content.seek(keep)
            content.write(b"\xa5" * max(0, size - keep))
