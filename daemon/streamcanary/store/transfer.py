"""Copies a whole store from one database to another: all of it, or nothing.

The target is written in one transaction, so that a copy that is interrupted leaves an empty target, and can be made
again. Rows are read and written in batches.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from streamcanary.model.clock import Clock
from streamcanary.model.statistics.rollup import RunCounts
from streamcanary.store.config import StoreConfig
from streamcanary.store.connection import Connection
from streamcanary.store.errors import StoreUnwritable
from streamcanary.store.postgres import driver
from streamcanary.store.sqlite.transfer import read_file, write_file
from streamcanary.store.tables.alert_rows import HISTORY, TABLES

_ROWS_PER_BATCH: Final = 500
_NOT_TEXT: Final = ("\0", "\ufffd")  # what a text with invalid characters is decoded to, and what PostgreSQL rejects
_NUMBER: Final = (int, float)

Rows = Generator[tuple[Any, ...], None, None]

Columns = dict[str, type | tuple[type, ...]]
"""The types of values by column."""


class Table(NamedTuple):
    """A table that is copied: the types of its columns, and the columns by which rows are ordered."""

    name: str
    columns: Columns
    order: str

    @property
    def column_list(self) -> str:
        """The names of the columns, for SQL."""
        return ", ".join(self.columns)


class CopiedTable(NamedTuple):
    """How many rows of a table were copied, and how many damaged ones were not."""

    name: str
    rows: int
    damaged: int


class Source(Protocol):
    """The store that is read, in one snapshot."""

    @property
    def unevaluated_runs(self) -> int:
        """How many recorded runs the rules have not evaluated, and will not in the copy."""
        ...

    def rows(self, table: Table) -> Rows:
        """Yield the rows of a table."""
        ...

    def check_unused(self) -> None:
        """Check that no daemon has begun to use the source since it was opened.

        Raises:
            StoreLocked: if one has.
        """
        ...


class Target(Protocol):
    """The store that is written, in one transaction."""

    @property
    def connection(self) -> Connection:
        """The connection, within the transaction."""
        ...

    def finish(self) -> None:
        """Prepare for the numbering of further runs, and commit."""
        ...


_PERIOD: Final[Columns] = {"canary": str, "started": int, "length": int}
_SPEND: Final[Columns] = {
    "day": str,
    "input_tokens": int,
    "output_tokens": int,
    "input_usd": _NUMBER,
    "output_usd": _NUMBER,
    "requests": int,
}
COPIED_TABLES: Final = (
    *(Table(name, {"key": str, "value": bytes}, "key") for name in (*TABLES, HISTORY)),
    Table("spend", _SPEND, "day"),
    Table("rollups", {**_PERIOD, **dict.fromkeys(RunCounts.__struct_fields__, int)}, "canary, started, length"),
    Table("rollup_details", {**_PERIOD, "value": bytes}, "canary, started, length"),
    Table(
        "runs",
        {"id": int, "run_id": str, "canary": str, "kind": str, "started": _NUMBER, "failed": int, "outcome": bytes},
        "id",
    ),
)


def copy_store(
    source: StoreConfig, target: StoreConfig, clock: Clock, warn: Callable[[str], None] = lambda text: None
) -> list[CopiedTable]:
    """Copy the store ``source`` to ``target``, which must be empty, and verify the number of rows.

    No daemon may use either of them. Rows that are damaged are left out. ``warn`` is called with what the rules miss.

    Raises:
        StoreError: if that is not possible; the target is then as it was.
        SecretUnreadable: if the file of a URL cannot be read.
    """
    with _read(source) as reader, _write(target, clock) as writer:
        used = [table.name for table in COPIED_TABLES if _count(writer.connection, table)]
        if used:
            raise StoreUnwritable(
                f"the store {target.location} is not empty, it has rows in {', '.join(used)}: name a new file or schema"
            )
        copied = [_copy_table(reader, writer.connection, table) for table in COPIED_TABLES]
        reader.check_unused()
        if reader.unevaluated_runs:
            warn(
                f"the last {reader.unevaluated_runs} runs, which ended while the replicas stopped, are in the history, "
                "and are not evaluated by the rules"
            )
        writer.finish()
    return copied


def _copy_table(source: Source, target: Connection, table: Table) -> CopiedTable:
    values = ", ".join("?" * len(table.columns))
    insert = f"INSERT INTO {table.name} ({table.column_list}) VALUES ({values})"  # noqa: S608 - fixed names
    types = tuple(table.columns.values())
    copied = damaged = 0
    with closing(source.rows(table)) as rows:
        while batch := list(islice(rows, _ROWS_PER_BATCH)):
            valid = [row for row in batch if all(map(_is_valid, row, types))]
            target.executemany(insert, valid)
            copied += len(valid)
            damaged += len(batch) - len(valid)
    if (found := _count(target, table)) != copied:
        raise StoreUnwritable(f"the target has {found} rows in {table.name} instead of {copied}: copy again")
    return CopiedTable(table.name, copied, damaged)


def _is_valid(value: object, types: type | tuple[type, ...]) -> bool:
    return isinstance(value, types) and not (isinstance(value, str) and any(part in value for part in _NOT_TEXT))


def _count(connection: Connection, table: Table) -> int:
    count: int = connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]  # noqa: S608 - fixed names
    return count


def _read(config: StoreConfig) -> AbstractContextManager[Source]:
    url = config.database_url
    if url is None:
        return read_file(config.path)
    _check_driver()
    from streamcanary.store.postgres.transfer import read_schema

    return read_schema(url, config.schema_name)


def _write(config: StoreConfig, clock: Clock) -> AbstractContextManager[Target]:
    url = config.database_url
    if url is None:
        return write_file(config.path, clock)
    _check_driver()
    from streamcanary.store.postgres.transfer import write_schema

    return write_schema(url, config.schema_name)


def _check_driver() -> None:
    if not driver.is_installed():
        raise StoreUnwritable(f"a store in PostgreSQL {driver.INSTALL}")
