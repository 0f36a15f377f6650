"""Each test of this folder runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from support.store.builders import FrozenClock
from support.store.databases import Database, PostgresDatabase, SqliteDatabase


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real("postgresql"))])
def database(request: pytest.FixtureRequest, path: Path) -> Database:
    """Provide an empty database."""
    if request.param == "sqlite":
        return SqliteDatabase(path)
    return PostgresDatabase(request.getfixturevalue("postgres_url"))


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """Provide a connection to the tables of a new store."""
    with database.connection() as connection:
        yield connection


@pytest.fixture
async def store(database: Database, clock: FrozenClock) -> AsyncIterator[Store]:
    """Provide an open store, and close it."""
    store = database.open(clock)
    yield store
    await store.close()
