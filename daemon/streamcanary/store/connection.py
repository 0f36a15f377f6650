"""The connection that the SQL of the store runs on: that of SQLite itself, and one for PostgreSQL of the same form.

The SQL is the common subset of both: ``?`` for parameters, ``ON CONFLICT``, ``coalesce``. ``CAST … AS BIGINT`` and
``AS DOUBLE PRECISION`` mean 64 bits in both; ``INTEGER`` and ``REAL`` mean 32 bits in PostgreSQL.

A statement that fails raises the error of its driver, ``sqlite3.Error`` or ``psycopg.Error``. Only the backends
distinguish them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol


class Cursor(Protocol):
    """The result of a statement. Rows are tuples; binary values are ``bytes``."""

    @property
    def rowcount(self) -> int:
        """The number of rows that the statement inserted, updated or deleted."""
        ...

    def fetchone(self) -> Any:
        """Return the next row; ``None`` if there is none."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the other rows."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection within a transaction of its owner."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor:
        """Run one statement.

        Raises:
            sqlite3.Error, psycopg.Error: if it fails.
        """
        ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> object:
        """Run one statement for each of ``parameters``.

        Raises:
            sqlite3.Error, psycopg.Error: if it fails.
        """
        ...


class ReadOnlyDatabase(NamedTuple):
    """A store that is opened only to be read, and the names of its tables: that of an older daemon may lack some."""

    connection: Connection
    tables: frozenset[str]
