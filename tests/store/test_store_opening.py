import logging
import os
import re
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
from support.store.builders import make_outcome, open_store


def pragma(name: str) -> Callable[[sqlite3.Connection], object]:
    """Return a function that reads a pragma."""
    return lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0]


async def test_the_writer_logs_ahead_and_syncs_each_commit(store: Store) -> None:
    """WAL and ``synchronous=FULL`` (2): a commit that was acknowledged survives a power cut."""
    assert await store.write(pragma("journal_mode")) == "wal"
    assert await store.write(pragma("synchronous")) == 2


async def test_what_was_written_is_there_after_closing_and_opening(path: Path) -> None:
    """The log is moved into the database on the way out."""
    store = open_store(path)
    await store.commit([RowChange("notifications", "a", b"1")], [])
    await store.close()
    assert not Path(f"{path}-wal").exists()
    again = open_store(path)
    assert (await again.load_rows())["notifications"] == {"a": b"1"}
    assert again.corrupt_path is None
    await again.close()


async def test_a_store_can_be_reached_through_a_link(tmp_path: Path, path: Path) -> None:
    """The store is the file itself: two names of it are one store."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    store = open_store(link)
    await store.commit([RowChange("notifications", "a", b"1")], [])
    assert (await store.load_rows())["notifications"] == {"a": b"1"}
    assert store.path == path.resolve()
    await store.close()


async def test_a_name_with_odd_characters_is_a_name(tmp_path: Path) -> None:
    """What means something in a URI means nothing in a path."""
    path = tmp_path / "50%20?mode=ro#é.db"
    store = open_store(path)
    assert await store.probe() is True
    await store.close()
    assert path.exists()


def test_a_missing_directory_is_named_and_not_made(tmp_path: Path) -> None:
    """It may be a volume that is not mounted: making it would hide that."""
    with pytest.raises(StoreUnwritable, match=r"store\.path: there is no directory .*/missing; create it"):
        open_store(tmp_path / "missing" / "canary.db")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    """The message says what to write instead."""
    with pytest.raises(StoreUnwritable, match=rf"store\.path: {tmp_path} is a directory; name a file in it, such as"):
        open_store(tmp_path)


def test_a_store_under_a_file_is_refused(tmp_path: Path) -> None:
    """The parent must be a directory."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnwritable, match=r"/file is not a directory; name a file in a directory"):
        open_store(tmp_path / "file" / "canary.db")


def test_a_pipe_is_no_store(tmp_path: Path) -> None:
    """Opening one would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreUnwritable, match="is not a regular file"):
        open_store(tmp_path / "pipe")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc, which nobody can write to")
def test_a_directory_that_takes_no_files_is_refused() -> None:
    """Also for root, whom permissions do not stop."""
    with pytest.raises(StoreUnwritable, match=r"store\.path: cannot write /proc/canary\.db\.lock: "):
        open_store(Path("/proc/canary.db"))


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
def test_a_directory_without_permission_is_refused(tmp_path: Path) -> None:
    """The usual mistake in a container that does not run as root."""
    tmp_path.chmod(0o500)
    with pytest.raises(StoreUnwritable, match="Permission denied; the daemon must be able to write there"):
        open_store(tmp_path / "canary.db")


@pytest.mark.parametrize("name", ["x" * 300, "nul\0byte"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    """No traceback, whatever stands in the configuration."""
    with pytest.raises(StoreUnwritable, match=r"store\.path: cannot "):
        open_store(tmp_path / name)


def test_the_database_of_another_program_is_left_alone(path: Path) -> None:
    """A path copied from somewhere else must not cost that program its data."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE customers (name)")
    before = path.read_bytes()
    with pytest.raises(StoreUnwritable, match="is a database of another program; name another file"):
        open_store(path)
    assert path.read_bytes() == before


async def test_a_store_of_a_later_version_is_refused_and_both_versions_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a downgrade the daemon does not guess what the later version meant."""
    steps = migrations.MIGRATIONS
    monkeypatch.setattr(migrations, "MIGRATIONS", (*steps, "CREATE TABLE later (x);", "CREATE TABLE still_later (x);"))
    await open_store(path).close()
    monkeypatch.setattr(migrations, "MIGRATIONS", steps)
    with pytest.raises(StoreTooNew, match=rf"is of version {len(steps) + 2}, and .* knows versions up to {len(steps)}"):
        open_store(path)
    assert path.exists()


def random_bytes(path: Path) -> None:
    """Leave nothing like a database."""
    path.write_bytes(os.urandom(20_000))


def text(path: Path) -> None:
    """Leave too little for a header."""
    path.write_text("hello")


def cut_in_half(path: Path) -> None:
    """Leave what a full disk or a broken copy leaves."""
    os.truncate(path, path.stat().st_size // 2)


def cut_in_a_page(path: Path) -> None:
    """Cut where no page ends."""
    os.truncate(path, 4096 * 3 + 17)


def cut_in_the_header(path: Path) -> None:
    """Leave only the first words."""
    os.truncate(path, 60)


def header_and_garbage(path: Path) -> None:
    """Leave the header, which promises a sound store, and noise."""
    content = path.read_bytes()
    path.write_bytes(content[:100] + os.urandom(len(content) - 100))


def garbage_in_the_middle(path: Path) -> None:
    """Leave the first page, with the schema, and noise."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))


DAMAGES = [random_bytes, text, cut_in_half, cut_in_a_page, cut_in_the_header, header_and_garbage, garbage_in_the_middle]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_a_corrupt_store_is_set_aside_and_a_fresh_one_works(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon runs on; the file is kept under a name with the time, for whoever wants to look."""
    store = open_store(path)
    await store.commit([RowChange("notifications", "old", b"1")], [make_outcome(number) for number in range(50)])
    await store.close()
    damage(path)
    damaged = path.read_bytes()

    with caplog.at_level(logging.WARNING):
        store = open_store(path)
    assert store.corrupt_path == path.with_name("canary.db.corrupt-20260202T024000Z")
    assert store.corrupt_path.read_bytes() == damaged
    pattern = rf"the store {path} is corrupt \(.+\): set aside as {store.corrupt_path}, a fresh one is begun"
    assert [re.fullmatch(pattern, record.message) is not None for record in caplog.records] == [True]
    await store.commit([RowChange("notifications", "new", b"2")], [])
    assert (await store.load_rows())["notifications"] == {"new": b"2"}
    await store.close()


async def test_the_log_of_a_corrupt_store_is_not_read_into_the_fresh_one(path: Path, tmp_path: Path) -> None:
    """What a killed daemon left in the log belongs to the file that is set aside."""
    other = open_store(tmp_path / "other.db")
    await other.close()  # most of it is in the database, the rest in the log
    other = open_store(tmp_path / "other.db")
    await other.commit([RowChange("notifications", "old", b"1")], [])
    random_bytes(path)
    for companion in ("-wal", "-shm"):
        shutil.copy(f"{other.path}{companion}", f"{path}{companion}")
    await other.close()

    store = open_store(path)
    assert store.corrupt_path is not None
    assert (await store.load_rows())["notifications"] == {}
    assert await store.write(pragma("quick_check")) == "ok"
    await store.close()


async def test_two_corrupt_stores_in_one_second_are_both_kept(path: Path) -> None:
    """Nothing that was set aside is overwritten."""
    kept = []
    for content in (b"first", b"second"):
        path.write_bytes(content)
        store = open_store(path)
        await store.close()
        assert store.corrupt_path is not None
        kept.append((store.corrupt_path.name, store.corrupt_path.read_bytes()))
    assert kept == [
        ("canary.db.corrupt-20260202T024000Z", b"first"),
        ("canary.db.corrupt-20260202T024000Z-2", b"second"),
    ]


async def test_an_empty_file_is_a_fresh_store(path: Path) -> None:
    """Made beforehand by ``touch``, or by a crash in the instant of creation."""
    path.touch()
    store = open_store(path)
    assert (store.corrupt_path, await store.probe()) == (None, True)
    await store.close()
