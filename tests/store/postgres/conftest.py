"""A store in a PostgreSQL database of its own for each test."""

from collections.abc import AsyncIterator

import pytest

from streamcanary.store.database import Store
from support.store.builders import FrozenClock
from support.store.databases import PostgresDatabase


@pytest.fixture
def database(postgres_url: str) -> PostgresDatabase:
    """Provide an empty database."""
    return PostgresDatabase(postgres_url)


@pytest.fixture
async def store(database: PostgresDatabase, clock: FrozenClock) -> AsyncIterator[Store]:
    """Provide an open store, and close it."""
    store = database.open(clock)
    yield store
    await store.close()
