"""Copying a store from one database to another: all of it, or nothing."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store import transfer
from streamcanary.store.config import StoreConfig
from streamcanary.store.errors import RunsUnreadable, StoreLocked, StoreMissing, StoreTooNew, StoreUnwritable
from streamcanary.store.transfer import COPIED_TABLES, CopiedTable, copy_store
from support.store.builders import FrozenClock, make_outcome, open_store
from support.store.databases import Database, PostgresDatabase, SqliteDatabase
from support.store.populated import Content, populate, read_content

pytestmark = pytest.mark.real("postgresql")
ROWS = [RowChange("notifications", "a", b"1")]


@pytest.fixture
async def content(path: Path) -> Content:
    """Populate the file at ``path`` as a daemon with an outage leaves it, and return its content."""
    content = await populate(path)
    store = open_store(path)
    await store.commit([RowChange("alert_history", "1", b"{}")], [make_outcome(7, canary="é✓")])
    await store.close()
    return content


@pytest.fixture
def file(path: Path) -> SqliteDatabase:
    """Provide the file at ``path``."""
    return SqliteDatabase(path)


@pytest.fixture
def schema(postgres_url: str) -> PostgresDatabase:
    """Provide an empty database."""
    return PostgresDatabase(postgres_url)


def copy(source: Database, target: Database) -> list[CopiedTable]:
    """Copy the store of ``source`` to ``target``."""
    return copy_store(source.config(), target.config(), FrozenClock())


def tables_of(config: StoreConfig) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of a store that nobody uses."""
    with transfer._read(config) as source:
        return {table.name: list(source.rows(table)) for table in COPIED_TABLES}


def execute(url: str, *statements: str) -> None:
    """Change the schema as damage or another program would."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(b"SET search_path TO streamcanary")
        for statement in statements:
            connection.execute(statement.encode())


async def test_a_store_is_the_same_after_both_ways(
    content: Content, file: SqliteDatabase, schema: PostgresDatabase, tmp_path: Path
) -> None:
    """From SQLite to PostgreSQL and back: each row of each table, and what a daemon reads from them."""
    back = SqliteDatabase(tmp_path / "back.db")
    expected = tables_of(file.config())
    there = copy(file, schema)
    assert all(expected.values())
    assert [CopiedTable(table.name, len(expected[table.name]), 0) for table in COPIED_TABLES] == there
    assert expected == tables_of(schema.config())
    assert there == copy(schema, back)
    assert expected == tables_of(back.config())
    original, *copies = [database.open() for database in (file, schema, back)]
    read = await read_content(original)
    assert (content.state, content.spend) == (read.state, read.spend)
    for store in copies:
        assert read == await read_content(store)
        assert await original.sum_counts([0.0]) == await store.sum_counts([0.0])
    for store in (original, *copies):
        await store.close()


@pytest.mark.usefixtures("content")
async def test_runs_after_a_copy_continue_its_numbers(
    file: SqliteDatabase, schema: PostgresDatabase, tmp_path: Path
) -> None:
    """The next run is the last one, in both databases."""
    back = SqliteDatabase(tmp_path / "back.db")
    copy(file, schema)
    copy(schema, back)
    for database in (schema, back):
        store = database.open()
        await store.commit([], [make_outcome(1000)])
        (last,) = (await store.runs_after(await store.row_before_last(1), 10))[0]
        assert "run-1000" == last.run_id
        await store.close()


async def test_an_empty_store_is_copied(file: SqliteDatabase, schema: PostgresDatabase) -> None:
    """That of a daemon that has not run yet; the next run has the first number."""
    await file.open().close()
    assert {0} == {table.rows for table in copy(file, schema)}
    store = schema.open()
    await store.commit([], [make_outcome(1)])
    assert (0, 1) == (await store.row_before_last(1), len((await store.runs_after(0, 9))[0]))
    await store.close()


@pytest.mark.parametrize("is_file", [True, False], ids=["file", "schema"])
async def test_a_target_that_is_not_empty_is_refused(
    file: SqliteDatabase, schema: PostgresDatabase, *, is_file: bool
) -> None:
    """It stays as it is, and the message says which tables have rows."""
    source: Database = schema if is_file else file
    target: Database = file if is_file else schema
    for database in (source, target):
        store = database.open()
        await store.commit(ROWS, [make_outcome(1)])
        await store.close()
    before = tables_of(target.config())
    with pytest.raises(StoreUnwritable, match="is not empty, it has rows in notifications, rollups, rollup_details, r"):
        copy(source, target)
    assert before == tables_of(target.config())


@pytest.mark.usefixtures("content")
async def test_a_file_in_use_is_neither_read_nor_written(file: SqliteDatabase, schema: PostgresDatabase) -> None:
    """Its daemon has the lock."""
    store = file.open()
    with pytest.raises(StoreLocked, match="is in use by another streamcanary, process"):
        copy(file, schema)
    with pytest.raises(StoreMissing, match="has no store in schema streamcanary"):
        copy(schema, file)
    await schema.open().close()
    with pytest.raises(StoreLocked, match="is in use by another streamcanary, process"):
        copy(schema, file)
    await store.close()
    assert sum(table.rows for table in copy(file, schema)) > 0


LIVE = (
    "INSERT INTO replicas (name, address, generation, config, joined, expires)"
    " VALUES ('pod-1', '', 0, '', now(), now() + interval '1 hour')"
)


@pytest.mark.usefixtures("content")
async def test_a_schema_in_use_is_neither_read_nor_written(
    file: SqliteDatabase, schema: PostgresDatabase, tmp_path: Path
) -> None:
    """A replica whose lease has not ended uses it."""
    await schema.open().close()
    execute(schema.url, LIVE)
    for source, target in ((schema, SqliteDatabase(tmp_path / "new.db")), (file, schema)):
        with pytest.raises(StoreLocked, match="is in use by the replica pod-1: stop all replicas first"):
            copy(source, target)
    execute(schema.url, "UPDATE replicas SET expires = now() - interval '1 s'")
    copy(file, schema)


@pytest.mark.usefixtures("content")
async def test_a_replica_that_joins_during_a_copy_makes_it_fail(
    file: SqliteDatabase, schema: PostgresDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy would be outdated."""
    copy(file, schema)
    monkeypatch.setattr(transfer, "_copy_table", joining(schema, transfer._copy_table))
    back = SqliteDatabase(tmp_path / "back.db")
    with pytest.raises(StoreLocked, match="is in use by the replica pod-1"):
        copy(schema, back)
    assert not any(tables_of(back.config()).values())


def joining(schema: PostgresDatabase, copy_table: Callable[..., CopiedTable]) -> Callable[..., CopiedTable]:
    """Let a replica join after the last table was copied."""

    def copy_and_join(*arguments: Any) -> CopiedTable:
        copied = copy_table(*arguments)
        if copied.name == "runs":
            execute(schema.url, LIVE)
        return copied

    return copy_and_join


@pytest.mark.parametrize("is_file", [True, False], ids=["file", "schema"])
async def test_an_interrupted_copy_leaves_nothing_and_can_be_made_again(
    content: Content,
    file: SqliteDatabase,
    schema: PostgresDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_file: bool,
) -> None:
    """Whatever ends it: here, in the middle of the runs."""
    assert content.runs
    source: Database = file
    target: Database = schema
    if is_file:
        copy(file, schema)
        source, target = schema, SqliteDatabase(tmp_path / "back.db")
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "_ROWS_PER_BATCH", 7)
        patch.setattr(transfer, "_is_valid", interrupting())
        with pytest.raises(KeyboardInterrupt):
            copy(source, target)
    assert not any(tables_of(target.config()).values())
    copy(source, target)
    assert tables_of(source.config()) == tables_of(target.config())


def interrupting() -> Callable[..., bool]:
    """Interrupt at the tenth outcome of a run."""
    seen = []

    def is_valid(value: object, types: object) -> bool:
        if types is bytes and isinstance(value, bytes) and value.startswith(b'{"run_id"'):
            seen.append(value)
        if len(seen) == 10:
            raise KeyboardInterrupt
        return True

    return is_valid


@pytest.mark.usefixtures("content")
async def test_damaged_rows_are_left_out_and_counted(
    file: SqliteDatabase, schema: PostgresDatabase, path: Path
) -> None:
    """Values of another type, text that is not UTF-8, and characters that PostgreSQL cannot store."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO notifications VALUES ('text', 'text')")
        connection.execute("INSERT INTO notifications VALUES (x'ff', x'00')")
        connection.execute("INSERT INTO notifications VALUES (CAST(x'ff' AS TEXT), x'00')")
        connection.execute("INSERT INTO notifications VALUES (char(0), x'00')")
        connection.execute("UPDATE runs SET started = 'soon' WHERE id = 3")
        connection.execute("UPDATE rollups SET ok = 1.5 WHERE canary = 'a'")
    damaged = {table.name: table.damaged for table in copy(file, schema) if table.damaged}
    assert {"notifications": 4, "runs": 1, "rollups": 1} == damaged


async def test_a_file_of_another_version_is_refused(file: SqliteDatabase, schema: PostgresDatabase, path: Path) -> None:
    """An older one is migrated by its daemon, a newer one needs a later streamcanary."""
    await file.open().close()
    for version, error, message in (
        (6, StoreUnwritable, "has schema version 6 instead of 7: start its daemon once"),
        (99, RunsUnreadable, "has schema version 99, and this streamcanary supports versions up to 7"),
    ):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(error, match=message):
            copy(file, schema)


async def test_a_schema_of_another_version_is_refused(file: SqliteDatabase, schema: PostgresDatabase) -> None:
    """As source, and as target."""
    await schema.open().close()
    execute(schema.url, "UPDATE schema_version SET version = 99")
    with pytest.raises(StoreTooNew, match="has schema version 99"):
        copy(schema, file)
    await file.open().close()
    with pytest.raises(StoreTooNew, match="has schema version 99"):
        copy(file, schema)


async def test_a_file_without_the_last_changes_of_its_daemon_is_refused(
    file: SqliteDatabase, schema: PostgresDatabase, path: Path
) -> None:
    """PostgreSQL could not tell the next start that notifications may be missing."""
    await file.open().close()
    path.with_name(f"{path.name}.saved").write_bytes(b"")
    with pytest.raises(StoreUnwritable, match="lacks the last changes of its daemon"):
        copy(file, schema)


@pytest.mark.parametrize(("kind", "count"), [("run", 4), ("silence_created", 1), ("of a later version", 1)])
async def test_a_schema_with_inputs_to_evaluate_is_refused(
    file: SqliteDatabase, schema: PostgresDatabase, kind: str, count: int
) -> None:
    """They would be evaluated nowhere."""
    await schema.open().close()
    execute(schema.url, *[f"INSERT INTO pending_inputs (kind, value) VALUES ('{kind}', '')"] * count)  # noqa: S608 - fixed texts
    message = f"has {count} runs or changes that its rules have not evaluated: start its d"
    with pytest.raises(StoreUnwritable, match=message):
        copy(schema, file)


async def test_runs_that_ended_while_the_replicas_stopped_are_copied_with_a_warning(
    file: SqliteDatabase, schema: PostgresDatabase
) -> None:
    """Otherwise no store of replicas could be copied: each stop may leave some."""
    store = schema.open()
    await store.commit([], [make_outcome(number) for number in range(3)])
    await store.close()
    execute(
        schema.url,
        "INSERT INTO pending_inputs (run_id, kind, value) SELECT run_id, 'run', outcome FROM runs",
        "INSERT INTO pending_inputs (kind, value) VALUES ('diagnosis', '')",
    )
    warnings: list[str] = []
    copy_store(schema.config(), file.config(), FrozenClock(), warnings.append)

    (warning,) = warnings
    assert warning.startswith("the last 3 runs, which ended while the replicas stopped, are in the history")
    assert 3 == len(tables_of(file.config())["runs"])


async def test_the_spend_of_replicas_is_added(file: SqliteDatabase, schema: PostgresDatabase) -> None:
    """That of replicas which were killed, too."""
    await schema.open().close()
    execute(
        schema.url,
        "INSERT INTO spend VALUES ('2026-02-02', 1, 2, 0.25, 0.5, 1)",
        "INSERT INTO replica_spend VALUES (1, '2026-02-02', 1, 2, 0.25, 0.5, 1), (2, '2026-02-03', 1, 0, 0, 0, 1)",
    )
    copy(schema, file)
    assert [("2026-02-02", 2, 4, 0.5, 1.0, 2), ("2026-02-03", 1, 0, 0.0, 0.0, 1)] == tables_of(file.config())["spend"]


def test_a_missing_source_is_named(file: SqliteDatabase, schema: PostgresDatabase) -> None:
    """Nothing is created."""
    with pytest.raises(StoreMissing, match="there is no database"):
        copy(file, schema)
    assert not file.path.exists()
