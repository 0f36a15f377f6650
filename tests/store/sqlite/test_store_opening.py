import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreTooNew, StoreUnwritable
from streamcanary.store.sqlite import migrations
from support.store.builders import corrupt_path, make_outcome, open_store


def pragma(name: str) -> Callable[[sqlite3.Connection], object]:
    """Return a function that reads a pragma."""
    return lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0]


async def test_the_writer_uses_a_write_ahead_log_and_syncs_each_commit(store: Store) -> None:
    """With WAL and ``synchronous=FULL`` (2), an acknowledged commit survives a power cut."""
    assert await store.write(pragma("journal_mode")) == "wal"
    assert await store.write(pragma("synchronous")) == 2


async def test_committed_rows_are_present_after_closing_and_reopening(path: Path) -> None:
    """Closing the store checkpoints the write-ahead log into the database."""
    store = open_store(path)
    await store.commit([RowChange("notifications", "a", b"1")], [])
    await store.close()
    assert not Path(f"{path}-wal").exists()
    again = open_store(path)
    assert (await again.load_rows())["notifications"] == {"a": b"1"}
    assert corrupt_path(again) is None
    await again.close()


async def test_a_store_can_be_opened_through_a_symbolic_link(tmp_path: Path, path: Path) -> None:
    """The store resolves the link: both paths name the same store."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    store = open_store(link)
    await store.commit([RowChange("notifications", "a", b"1")], [])
    assert (await store.load_rows())["notifications"] == {"a": b"1"}
    assert store.location == str(path.resolve())
    await store.close()


async def test_a_path_with_uri_characters_is_used_literally(tmp_path: Path) -> None:
    """Characters with a meaning in a URI have none in the path."""
    path = tmp_path / "50%20?mode=ro#é.db"
    store = open_store(path)
    assert await store.probe() is True
    await store.close()
    assert path.exists()


def test_a_missing_directory_is_reported_and_not_created(tmp_path: Path) -> None:
    """Creating the directory would hide a volume that is not mounted."""
    with pytest.raises(StoreUnwritable, match=r"store\.path: there is no directory .*/missing; create it"):
        open_store(tmp_path / "missing" / "canary.db")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_as_store_path_is_rejected(tmp_path: Path) -> None:
    """The message says what to write instead."""
    with pytest.raises(StoreUnwritable, match=rf"store\.path: {tmp_path} is a directory; name a file in it, such as"):
        open_store(tmp_path)


def test_a_store_path_below_a_file_is_rejected(tmp_path: Path) -> None:
    """The parent of the store must be a directory."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnwritable, match=r"/file is not a directory; name a file in a directory"):
        open_store(tmp_path / "file" / "canary.db")


def test_a_pipe_as_store_path_is_rejected(tmp_path: Path) -> None:
    """Opening a pipe would block forever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreUnwritable, match="is not a regular file"):
        open_store(tmp_path / "pipe")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc, in which no user can create a file")
def test_a_directory_that_accepts_no_files_is_rejected() -> None:
    """The store is rejected for root, too, to whom permissions do not apply."""
    with pytest.raises(StoreUnwritable, match=r"store\.path: cannot write /proc/canary\.db\.lock: "):
        open_store(Path("/proc/canary.db"))


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not apply to root")
def test_a_directory_without_write_permission_is_rejected(tmp_path: Path) -> None:
    """The message names the missing permission, a common error in a container that does not run as root."""
    tmp_path.chmod(0o500)
    with pytest.raises(StoreUnwritable, match="Permission denied; the daemon must be able to write there"):
        open_store(tmp_path / "canary.db")


@pytest.mark.parametrize("name", ["x" * 300, "nul\0byte"])
def test_an_invalid_file_name_is_rejected(tmp_path: Path, name: str) -> None:
    """An invalid file name in the configuration raises a StoreUnwritable instead of an OSError."""
    with pytest.raises(StoreUnwritable, match=r"store\.path: cannot "):
        open_store(tmp_path / name)


def test_the_database_of_another_program_is_not_changed(path: Path) -> None:
    """A path copied by mistake does not destroy the data of the other program."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE customers (name)")
    before = path.read_bytes()
    with pytest.raises(StoreUnwritable, match="is a database of another program; name another file"):
        open_store(path)
    assert path.read_bytes() == before


async def test_a_store_of_a_later_version_is_rejected_and_both_versions_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a downgrade the daemon does not read a schema that it does not support."""
    steps = migrations.MIGRATIONS
    monkeypatch.setattr(migrations, "MIGRATIONS", (*steps, "CREATE TABLE later (x);", "CREATE TABLE still_later (x);"))
    await open_store(path).close()
    monkeypatch.setattr(migrations, "MIGRATIONS", steps)
    with pytest.raises(StoreTooNew, match=rf"has schema version {len(steps) + 2}, and .* versions up to {len(steps)}"):
        open_store(path)
    assert path.exists()


def random_bytes(path: Path) -> None:
    """Replace the database by random bytes."""
    path.write_bytes(os.urandom(20_000))


def text(path: Path) -> None:
    """Replace the database by a text that is shorter than a header."""
    path.write_text("hello")


def cut_in_half(path: Path) -> None:
    """Truncate the file to half its size, as a full disk or an interrupted copy does."""
    os.truncate(path, path.stat().st_size // 2)


def cut_in_a_page(path: Path) -> None:
    """Truncate the file inside a page."""
    os.truncate(path, 4096 * 3 + 17)


def cut_in_the_header(path: Path) -> None:
    """Truncate the file inside the header."""
    os.truncate(path, 60)


def header_and_garbage(path: Path) -> None:
    """Keep the valid header, and replace the rest by random bytes."""
    content = path.read_bytes()
    path.write_bytes(content[:100] + os.urandom(len(content) - 100))


def garbage_in_the_middle(path: Path) -> None:
    """Keep the first page with the schema, and replace the rest by random bytes."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))


DAMAGES = [random_bytes, text, cut_in_half, cut_in_a_page, cut_in_the_header, header_and_garbage, garbage_in_the_middle]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_a_corrupt_store_is_renamed_and_a_new_one_works(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The store renames the corrupt file to a name with the time, and creates a new one."""
    store = open_store(path)
    await store.commit([RowChange("notifications", "old", b"1")], [make_outcome(number) for number in range(50)])
    await store.close()
    damage(path)
    damaged = path.read_bytes()

    with caplog.at_level(logging.WARNING):
        store = open_store(path)
    assert corrupt_path(store) == path.with_name("canary.db.corrupt-20260202T024000Z")
    assert corrupt_path(store).read_bytes() == damaged
    [record] = caplog.records
    assert record.message == "store corrupt"
    assert (record.__dict__["store"], record.__dict__["renamed_to"]) == (str(path), str(corrupt_path(store)))
    assert record.__dict__["error"]
    await store.commit([RowChange("notifications", "new", b"2")], [])
    assert (await store.load_rows())["notifications"] == {"new": b"2"}
    await store.close()


async def test_the_log_of_a_corrupt_store_is_not_applied_to_the_new_one(path: Path, tmp_path: Path) -> None:
    """The write-ahead log of a killed daemon belongs to the file that is renamed."""
    other = open_store(tmp_path / "other.db")
    await other.close()  # most of it is in the database, the rest in the log
    other = open_store(tmp_path / "other.db")
    await other.commit([RowChange("notifications", "old", b"1")], [])
    random_bytes(path)
    for companion in ("-wal", "-shm"):
        shutil.copy(f"{other.location}{companion}", f"{path}{companion}")
    await other.close()

    store = open_store(path)
    assert corrupt_path(store) is not None
    assert (await store.load_rows())["notifications"] == {}
    assert await store.write(pragma("quick_check")) == "ok"
    await store.close()


async def test_two_corrupt_stores_in_one_second_are_both_kept(path: Path) -> None:
    """Renaming a corrupt store overwrites no earlier file."""
    kept = []
    for content in (b"first", b"second"):
        path.write_bytes(content)
        store = open_store(path)
        await store.close()
        assert corrupt_path(store) is not None
        kept.append((corrupt_path(store).name, corrupt_path(store).read_bytes()))
    assert kept == [
        ("canary.db.corrupt-20260202T024000Z", b"first"),
        ("canary.db.corrupt-20260202T024000Z-2", b"second"),
    ]


async def test_an_empty_file_becomes_a_new_store(path: Path) -> None:
    """An empty file, from ``touch`` or from a crash during creation, is opened as a new store."""
    path.touch()
    store = open_store(path)
    assert (corrupt_path(store), await store.probe()) == (None, True)
    await store.close()
