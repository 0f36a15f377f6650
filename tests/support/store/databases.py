"""The databases on which the tests of the contract of the store run: a file of SQLite, and a schema of PostgreSQL."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from streamcanary.model.config_types.secret import Secret
from streamcanary.store.config import StoreConfig
from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from streamcanary.store.opening import open_store
from streamcanary.store.postgres.connection import PostgresConnection
from streamcanary.store.postgres.migrations import open_schema
from streamcanary.store.postgres.server import Server
from streamcanary.store.sqlite.migrations import migrate
from support.store.builders import FrozenClock


class Database:
    """A database for one test, and what it says."""

    medium: ClassVar[str]
    missing_table: ClassVar[str]
    read_only: ClassVar[str]
    endless_query: ClassVar[str]

    def config(self, *, keep: float = 3600.0) -> StoreConfig:
        """Return the configuration of a store in it, which keeps runs for an hour."""
        raise NotImplementedError

    def connection(self) -> AbstractContextManager[Connection]:
        """Open new tables, without a store around them."""
        raise NotImplementedError

    @staticmethod
    def open_config(config: StoreConfig) -> Store:
        """Open the store of ``config``."""
        return open_store(config, FrozenClock())

    def open(self, clock: FrozenClock | None = None, *, keep: float = 3600.0, timeout: float = 10.0) -> Store:
        """Open the store in it."""
        return open_store(self.config(keep=keep), clock or FrozenClock(), timeout=timeout)


@dataclass
class SqliteDatabase(Database):
    """A file."""

    path: Path
    medium = "the disk"
    missing_table = "no such table: nowhere"
    read_only = "attempt to write a readonly database"
    endless_query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

    def config(self, *, keep: float = 3600.0) -> StoreConfig:
        """Return the configuration of the file."""
        return StoreConfig(path=self.path, keep=keep)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield a connection to a database in memory."""
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "replace")  # as in a store
            migrate(connection)
            yield connection


@dataclass
class PostgresDatabase(Database):
    """A schema in an empty database."""

    url: str
    medium = "the database"
    missing_table = 'relation "nowhere" does not exist'
    read_only = "cannot execute INSERT in a read-only transaction"
    endless_query = "SELECT pg_sleep(600)"

    def config(self, *, keep: float = 3600.0) -> StoreConfig:
        """Return the configuration of the schema."""
        return StoreConfig(url=Secret(self.url), keep=keep)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield a connection to a new schema."""
        server = Server(Secret(self.url), "streamcanary", 10.0)
        with closing(server.connect(lambda: False)) as connection:
            open_schema(connection, server.schema, server.location)
            connection.execute("SET search_path TO streamcanary")
            yield PostgresConnection(connection)
