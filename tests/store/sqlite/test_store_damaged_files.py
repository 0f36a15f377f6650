"""Damaged database files: the store opens, in place or with the file set aside, and raises nothing else."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.outcome import Outcome
from streamcanary.store.config import StoreConfig
from streamcanary.store.errors import RunsUnreadable, StoreFailing, StoreLost, StoreTooNew, StoreUnwritable
from streamcanary.store.recorded_runs import read_runs
from streamcanary.store.sqlite.database_file import open_database
from streamcanary.store.sqlite.error_classification import is_sign_of_corruption
from streamcanary.store.tables.history import UnreadableRun
from support.hypothesis_profile import count_example, examples, report_example_count
from support.store.builders import NOON, corrupt_path, make_outcome, open_store
from support.store.populated import DAYS, Content, populate, read_content, start_alerting

__all__ = ["report_example_count"]

PAGE = 4096
VERSION_BYTES = range(60, 64)
"""The schema version in the header: a damaged one may look like that of a later streamcanary."""


@pytest.fixture(scope="module")
def populated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Content]:
    """Provide a closed store with rows in every table, and its content."""
    path = tmp_path_factory.mktemp("populated") / "canary.db"
    return path, asyncio.run(populate(path))


@pytest.fixture
def copy(populated: tuple[Path, Content], path: Path) -> Path:
    """Provide a copy of the populated store."""
    return Path(shutil.copy(populated[0], path))


def flipped(content: bytes, positions: list[tuple[int, int]]) -> bytes:
    """Return ``content`` with bits flipped at ``positions``: byte (modulo the size) and bit."""
    damaged = bytearray(content)
    for position, bit in positions:
        damaged[position % len(damaged)] ^= 1 << bit
    return bytes(damaged)


def overwritten(content: bytes, position: int, filling: bytes) -> bytes:
    """Return ``content`` with ``filling`` at ``position``, modulo the size."""
    position %= len(content)
    return (content[:position] + filling + content[position + len(filling) :])[: len(content)]


def swapped(content: bytes, first: int, second: int) -> bytes:
    """Return ``content`` with two pages exchanged."""
    pages = [content[at : at + PAGE] for at in range(0, len(content), PAGE)]
    first, second = first % len(pages), second % len(pages)
    pages[first], pages[second] = pages[second], pages[first]
    return b"".join(pages)


ANYWHERE = st.integers(0, 10**7)
BITS = st.integers(0, 7)
FILLINGS = (b"\0" * PAGE, b"\xff" * 60, b"\xff\xfe", b"9" * 25, b"-1e999", b'{"[' * 9)
DAMAGE: st.SearchStrategy[Callable[[bytes], bytes]] = st.one_of(
    st.lists(st.tuples(ANYWHERE, BITS), min_size=1, max_size=40).map(lambda at: lambda content: flipped(content, at)),
    st.tuples(st.integers(0, 99), BITS).map(lambda at: lambda content: flipped(content, [at])),
    ANYWHERE.map(lambda size: lambda content: content[: size % len(content)]),
    st.tuples(ANYWHERE, st.sampled_from(FILLINGS)).map(lambda change: lambda content: overwritten(content, *change)),
    st.tuples(ANYWHERE, ANYWHERE).map(lambda pages: lambda content: swapped(content, *pages)),
)


@examples(sample=60, fuzz=3000)
@given(damage=DAMAGE, log_damage=st.none() | DAMAGE)
def test_any_damage_leaves_a_store_that_works(
    part: int, damage: Any, log_damage: Any, populated: tuple[Path, Content], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A store opens whatever is damaged, alerting starts on what is left of it, and further changes are saved."""
    count_example()
    path = tmp_path_factory.mktemp("damaged") / "canary.db"
    original = populated[0].read_bytes()
    if log_damage is None:
        path.write_bytes(damaged := damage(original))
    else:
        asyncio.run(leave_write_ahead_log(populated[0], path))
        log = Path(f"{path}-wal")
        log.write_bytes(log_damage(log.read_bytes()))
        damaged = original
    with_readable_runs(path)
    try:
        asyncio.run(use(path))
    except StoreTooNew:
        assert any(damaged[at : at + 1] != original[at : at + 1] for at in VERSION_BYTES)
    shutil.rmtree(path.parent)


def with_readable_runs(path: Path) -> None:
    """Read the recorded runs as another process does: each one, or the reason why it or the file is unreadable."""
    try:
        assert all(isinstance(run, (Outcome, UnreadableRun)) for run in read_runs(StoreConfig(path=path)))
    except RunsUnreadable as error:
        assert str(path) in str(error)


async def leave_write_ahead_log(source: Path, path: Path) -> None:
    """Copy the store of ``source`` to ``path`` with a write-ahead log, as a killed process leaves it."""
    live = Path(shutil.copy(source, path.with_name("live.db")))
    store = open_store(live)
    await store.commit([RowChange("silences", f"k{number}", b"{}") for number in range(20)], [make_outcome(9)])
    for companion in ("", "-wal"):
        shutil.copy(f"{live}{companion}", f"{path}{companion}")
    await store.close()


async def use(path: Path) -> None:
    """Start on the store, save something, and read it after a restart."""
    store = open_store(path)
    start_alerting(await read_content(store))
    await store.commit([RowChange("notifications", "new", b"1")], [make_outcome(1_000)])
    await store.save_spend(DAYS)
    await store.close()
    store = open_store(path)
    assert b"1" == (await store.load_rows())["notifications"]["new"]
    assert DAYS.items() <= (await store.load_spend()).items()
    assert corrupt_path(store) is None
    await store.close()


def edit_schema(path: Path, old: str, new: str) -> None:
    """Replace ``old`` by ``new`` in the names and the SQL of the schema, as flipped bits would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ?, ?), name = replace(name, ?, ?)", (old, new) * 2
        )
        connection.execute("UPDATE sqlite_master SET tbl_name = replace(tbl_name, ?, ?)", (old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("spend", "spene"),
        ("notifications", "notificatiins"),
        ("runs", "rons"),
        ("outcome", "outcOne"),
        ("run_id TEXT NOT NULL UNIQUE", "run_id TEXT NOT NULL"),
        ("value BLOB", "valuf BLOB"),
        ("CREATE TABLE", "CREATF TABLE"),
    ],
)
async def test_a_damaged_schema_is_set_aside(copy: Path, old: str, new: str) -> None:
    """A store whose tables or columns have other names is set aside: no statement of streamcanary would work on it."""
    edit_schema(copy, old, new)
    store = open_store(copy)
    assert corrupt_path(store) is not None
    await store.commit([RowChange("notifications", "new", b"1")], [make_outcome(1)])
    await store.close()


async def test_a_schema_with_names_that_are_not_utf8_is_set_aside(copy: Path) -> None:
    """SQLite's message about the name cannot be decoded, which is a sign of corruption as any other error is."""
    copy.write_bytes(copy.read_bytes().replace(b"CREATE TABLE spend", b"CREATE TABLE sp\xff\xfed"))
    store = open_store(copy)
    assert corrupt_path(store) is not None
    await store.close()


@pytest.mark.parametrize(
    "pragma", ["application_id = 7", "user_version = 0", "user_version = -9", "user_version = 100000"]
)
async def test_a_damaged_mark_in_the_header_is_repaired(
    copy: Path, populated: tuple[Path, Content], pragma: str
) -> None:
    """The application id and the schema version are restored if the tables show what they were."""
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute(f"PRAGMA {pragma}")
    for _ in range(2):
        store = open_store(copy)
        assert (None, populated[1]) == (corrupt_path(store), await read_content(store))
        await store.close()


@pytest.mark.parametrize("position", [18, 19])
async def test_an_unknown_format_version_is_corruption_and_no_missing_permission(copy: Path, position: int) -> None:
    """SQLite opens such a file read-only, or not at all; it is set aside."""
    copy.write_bytes(overwritten(copy.read_bytes(), position, b"\x09"))
    store = open_store(copy)
    assert (True, True) == (corrupt_path(store) is not None, await store.probe())
    await store.close()


async def test_tables_of_another_program_are_not_set_aside(path: Path) -> None:
    """A database of another program with the same schema version is refused, and not changed."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (x)")
        connection.execute("PRAGMA user_version = 4")
    before = path.read_bytes()
    with pytest.raises(StoreUnwritable, match="is a database of another program"):
        open_store(path)
    assert before == path.read_bytes()


async def test_a_damaged_index_is_rebuilt(copy: Path, populated: tuple[Path, Content]) -> None:
    """A file that caused an error while in use is checked with its indexes; only a damaged index costs no row."""
    edit_schema(copy, "ON runs (canary)", "ON runs (run_id)")
    open_database(copy, NOON, "database disk image is malformed").connection.close()
    store = open_store(copy)
    assert (None, populated[1]) == (corrupt_path(store), await read_content(store))
    assert "ok" == await store.write(lambda connection: connection.execute("PRAGMA integrity_check").fetchone()[0])
    await store.close()


def malformed(_: sqlite3.Connection) -> None:
    """Raise the error of SQLite for a corrupt file."""
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    raise error


async def test_a_store_that_stays_malformed_while_in_use_is_replaced(copy: Path) -> None:
    """The first error leads to a thorough check, a second one in a row to a new store."""
    store = open_store(copy)
    with pytest.raises(StoreFailing):
        await store.write(malformed)
    assert (None, len(DAYS)) == (corrupt_path(store), len(await store.load_spend()))
    with pytest.raises(StoreLost):
        await store.write(malformed)
    assert corrupt_path(store) is not None
    await store.close()


async def test_a_read_that_meets_corruption_replaces_the_store(copy: Path, populated: tuple[Path, Content]) -> None:
    """The writer checks the file after a failed read, so that the next read works on a valid store."""
    store = open_store(copy)
    for content in populated[1], None:
        with pytest.raises(StoreFailing):
            await store.read(malformed)
        if content is not None:
            assert (None, content) == (corrupt_path(store), await read_content(store))
    assert (True, {}) == (corrupt_path(store) is not None, await store.load_spend())
    await store.close()


def sqlite_error(code: int) -> sqlite3.Error:
    """Return an error with the result code ``code``."""
    error = sqlite3.OperationalError("from SQLite")
    error.sqlite_errorcode = code
    return error


OTHER_CODES = [
    "FULL",
    "IOERR",
    "BUSY",
    "LOCKED",
    "READONLY",
    "CANTOPEN",
    "PERM",
    "AUTH",
    "NOMEM",
    "INTERRUPT",
    "PROTOCOL",
    "NOLFS",
]
OTHER_ERRORS = [
    *(sqlite_error(getattr(sqlite3, f"SQLITE_{name}")) for name in OTHER_CODES),
    MemoryError(),
    PermissionError(13, "denied"),
    OSError(28, "no space"),
    sqlite3.ProgrammingError("closed"),
]
"""Errors that an intact database can cause."""


def describe(error: Exception) -> str:
    """Return the id of a test of ``error``."""
    return f"{type(error).__name__} {getattr(error, 'sqlite_errorcode', '')}"


@pytest.mark.parametrize("error", OTHER_ERRORS, ids=describe)
def test_errors_of_disk_permissions_locks_and_memory_are_no_corruption(error: Exception, path: Path) -> None:
    """What is not a property of the file never sets it aside."""
    assert not is_sign_of_corruption(error, path)


@pytest.mark.parametrize(
    "error",
    [
        *(sqlite_error(code) for code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)),
        sqlite_error(sqlite3.SQLITE_IOERR_SHORT_READ),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        IndexError("list index out of range"),
        OverflowError("too large"),
    ],
    ids=describe,
)
def test_any_other_error_of_an_examination_is_a_sign_of_corruption(error: Exception, path: Path) -> None:
    """Damage can cause almost any error."""
    assert is_sign_of_corruption(error, path)
