"""Examines a database before it is used: whether it is intact, of streamcanary, and of a version that is supported.

What is damaged in one row does not matter here: each row is checked when it is read.
"""

import contextlib
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from streamcanary.store.errors import StoreTooNew, StoreUnwritable
from streamcanary.store.sqlite import migrations
from streamcanary.store.sqlite.migrations import APPLICATION_ID, known_version, migrate, stored_version

_MAX_MESSAGES = 100  # of a check; further ones are not needed
_MAX_MESSAGE_LENGTH = 200
_MAX_LATER_VERSIONS = 1000  # a version that is further ahead is damage, not a later streamcanary
_HEADER_SIZE = 100
_FORMAT_VERSIONS: Final = frozenset({1, 2})  # rollback, write-ahead log: https://www.sqlite.org/fileformat.html
_DAMAGED_VALUE = re.compile(r"(?:NULL|TEXT|NUMERIC|non-\w+) value in \S+")
_DAMAGED_INDEX = re.compile(
    r"row \d+ missing from index \S+|wrong # of entries in index \S+|non-unique entry in index .*"
)
_OWN_TABLES: Final = frozenset({"runs", "incidents", "groups"})  # of each version


class CorruptDatabase(Exception):
    """The file is not a valid database of streamcanary."""


class Examination(NamedTuple):
    """The result for a valid database: its schema ``version``, and messages about values that are damaged."""

    version: int
    damaged_values: list[str]


class _Table(NamedTuple):
    """The names of the columns of a table, and the columns of each key that SQL of streamcanary relies on."""

    columns: tuple[str, ...]
    keys: frozenset[tuple[str, ...]]


def examine(connection: sqlite3.Connection, path: Path, *, is_thorough: bool = False) -> Examination:
    """Examine the open database at ``path``. With ``is_thorough``, check indexes, too, and rebuild damaged ones.

    The version comes first: a later version may use features that this one cannot check.

    Raises:
        CorruptDatabase: if it is damaged.
        StoreTooNew: if a later version has written it.
        StoreUnwritable: if it belongs to another program.
        Exception: any other error that SQLite raises because of the damage.
    """
    version, known = stored_version(connection), known_version()
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    is_streamcanary = application_id == APPLICATION_ID or names >= _OWN_TABLES
    if is_streamcanary and known < version <= known + _MAX_LATER_VERSIONS:
        raise StoreTooNew(
            f"the store {path} has schema version {version}, and this streamcanary supports versions up to {known}: "
            "run the later streamcanary again, or name another file in store.path"
        )
    damaged_values = _check_content(connection, is_thorough=is_thorough)
    if names and not is_streamcanary:
        raise StoreUnwritable(f"store.path: {path} is a database of another program; name another file")
    return Examination(_schema_version(connection, version), damaged_values)


def has_unknown_format(path: Path) -> bool:
    """Return whether the header of the file has a format version that does not exist.

    SQLite opens such a file read-only, as if permissions were missing. Call this only once the connections of this
    process are closed or have failed: closing the file releases the locks that SQLite holds on it.
    """
    with contextlib.suppress(OSError), path.open("rb") as file:
        header = file.read(_HEADER_SIZE)
        return len(header) == _HEADER_SIZE and not _FORMAT_VERSIONS.issuperset(header[18:20])
    return False


def _check_content(connection: sqlite3.Connection, *, is_thorough: bool) -> list[str]:
    """Check the pages of the file; return messages about values that are damaged."""
    check = f"PRAGMA {'integrity_check' if is_thorough else 'quick_check'}({_MAX_MESSAGES})"
    messages = _check_messages(connection, check)
    if any(_DAMAGED_INDEX.fullmatch(message) for message in messages):
        connection.execute("REINDEX")
        messages = _check_messages(connection, check)
    for message in messages:
        if not _DAMAGED_VALUE.fullmatch(message):
            raise CorruptDatabase(message)
    return messages


def _check_messages(connection: sqlite3.Connection, check: str) -> list[str]:
    messages = [" ".join(str(message).split()) for (message,) in connection.execute(check)]
    return [message[:_MAX_MESSAGE_LENGTH] for message in messages if message != "ok"]


def _schema_version(connection: sqlite3.Connection, stored: int) -> int:
    """Return the version that the tables have: ``stored``, unless only that number is damaged."""
    tables, known = _tables(connection), known_version()
    for version in (stored, known):
        if version == 0 and not tables:
            return 0
        if 0 < version <= known and _is_superset(tables, _expected_tables(version, migrations.MIGRATIONS)):
            return version
    raise CorruptDatabase(f"its tables are not those of schema version {stored}")


def _is_superset(tables: Mapping[str, _Table], expected: Mapping[str, _Table]) -> bool:
    return all(
        name in tables and tables[name].columns == table.columns and tables[name].keys >= table.keys
        for name, table in expected.items()
    )


def _tables(connection: sqlite3.Connection) -> dict[str, _Table]:
    names = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not name.startswith("sqlite_")
    ]
    return {name: _table(connection, name) for name in names}


def _table(connection: sqlite3.Connection, name: str) -> _Table:
    columns = connection.execute("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", (name,)).fetchall()
    keys = {tuple(column for column, position in sorted(columns, key=lambda each: each[1]) if position)}
    for (index,) in connection.execute('SELECT name FROM pragma_index_list(?) WHERE "unique"', (name,)).fetchall():
        indexed = connection.execute("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (index,)).fetchall()
        keys.add(tuple(column for (column,) in indexed))
    return _Table(tuple(column for column, _ in columns), frozenset(keys))


@cache
def _expected_tables(version: int, _steps: tuple[migrations.Migration, ...]) -> dict[str, _Table]:
    """Return the tables of schema version ``version``, from a new database in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, version)
        return _tables(connection)
