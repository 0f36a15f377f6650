"""The schema of the store in PostgreSQL: created once and migrated once, whichever replica starts first."""

import asyncio

import psycopg
import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store import schema_steps
from streamcanary.store.connection import Connection
from streamcanary.store.errors import StoreUnwritable
from streamcanary.store.schema_steps import SchemaStep
from streamcanary.store.sqlite import migrations as sqlite_migrations
from support.store.databases import PostgresDatabase
from support.store.gate import notifications

REPLICAS = 8
ROWS = [RowChange("notifications", "a", b"1")]
ADD_COLUMN = "ALTER TABLE notifications ADD COLUMN note TEXT;"


def count_runs(connection: Connection) -> None:
    """Create a table in a function, as a step that reads data would."""
    connection.execute("CREATE TABLE run_count AS SELECT count(*) AS number FROM runs WHERE failed = ?", (0,))


def rows_of(database: PostgresDatabase, query: str) -> list[tuple[object, ...]]:
    """Return what another program reads."""
    with psycopg.connect(database.url) as connection:
        connection.execute("SET search_path TO streamcanary")
        return connection.execute(query.encode()).fetchall()


def test_both_databases_have_the_same_version() -> None:
    """So that a store can be copied from one to the other."""
    assert schema_steps.known_version() == sqlite_migrations.known_version()


async def test_replicas_that_start_at_once_create_one_schema(database: PostgresDatabase) -> None:
    """The first creates it, and the others wait for that."""
    stores = await asyncio.gather(*(asyncio.to_thread(database.open) for _ in range(REPLICAS)))
    assert [True] * REPLICAS == [store.is_writable() for store in stores]
    assert [(1, 7)] == rows_of(database, "SELECT count(*), min(version) FROM schema_version")
    for number, store in enumerate(stores):
        await store.commit([RowChange("notifications", str(number), b"1")], [])
    assert REPLICAS == len(await notifications(stores[0]))
    await asyncio.gather(*(store.close() for store in stores))


async def test_replicas_of_a_later_version_migrate_the_data_once(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step runs once, a script or a function."""
    store = database.open()
    await store.commit(ROWS, [])
    await store.close()
    steps = (SchemaStep(ADD_COLUMN, ADD_COLUMN), SchemaStep(count_runs, count_runs))
    monkeypatch.setattr(schema_steps, "STEPS", steps)
    stores = await asyncio.gather(*(asyncio.to_thread(database.open) for _ in range(REPLICAS)))
    assert [("a", b"1", None)] == rows_of(database, "SELECT key, value, note FROM notifications")
    assert [(0,)] == rows_of(database, "SELECT number FROM run_count")
    assert [(9,)] == rows_of(database, "SELECT version FROM schema_version")
    assert ["a"] == await notifications(stores[0])
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_new_schema_gets_all_steps(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with the tables of version 7."""
    monkeypatch.setattr(schema_steps, "STEPS", (SchemaStep(ADD_COLUMN, ADD_COLUMN),))
    await database.open().close()
    assert [(8,)] == rows_of(database, "SELECT version FROM schema_version")
    assert [] == rows_of(database, "SELECT note FROM notifications")


async def test_a_failed_migration_is_rolled_back(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon does not start, and the former version can run again."""
    store = database.open()
    await store.commit(ROWS, [])
    await store.close()
    steps = (SchemaStep(ADD_COLUMN, ADD_COLUMN), SchemaStep("", "CREATE TABLE x (y integer); SELECT 1 / 0"))
    with monkeypatch.context() as patch:
        patch.setattr(schema_steps, "STEPS", steps)
        with pytest.raises(StoreUnwritable) as raised:
            database.open()
    assert str(raised.value).endswith(
        " cannot be migrated from schema version 7 to 9: division by zero; restore a backup of it, or name another one "
        "in store.schema"
    )
    store = database.open()
    assert ["a"] == await notifications(store)
    await store.close()


async def test_two_schemas_in_one_database_are_apart(database: PostgresDatabase) -> None:
    """Each configuration has its own."""
    config = database.config()
    other = type(config).model_validate({"url": config.url, "schema": "streamcanary_staging"})
    first, second = database.open(), database.open_config(other)
    await first.commit(ROWS, [])
    assert (["a"], []) == (await notifications(first), await notifications(second))
    await first.close()
    await second.close()
