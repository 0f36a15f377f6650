import sqlite3
from contextlib import closing

import pytest

from streamcanary.store.sqlite import migrations
from streamcanary.store.sqlite.migrations import APPLICATION_ID, known_version, migrate, stored_version


def test_an_empty_database_is_brought_to_the_known_version() -> None:
    """The version counts the migrations, and the application id marks the file."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        assert stored_version(connection) == known_version()
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_migrating_twice_changes_nothing() -> None:
    """A second migration leaves the schema unchanged."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        schema = list(connection.execute("SELECT * FROM sqlite_master"))
        migrate(connection)
        assert list(connection.execute("SELECT * FROM sqlite_master")) == schema


def test_only_the_missing_migrations_run_and_data_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version applies its migrations to the data of an earlier one."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        connection.execute("INSERT INTO notifications VALUES ('a', x'00')")
        monkeypatch.setattr(
            migrations, "MIGRATIONS", (*migrations.MIGRATIONS, "ALTER TABLE notifications ADD COLUMN note TEXT;")
        )
        migrate(connection)
        assert list(connection.execute("SELECT * FROM notifications")) == [("a", b"\0", None)]
        assert stored_version(connection) == known_version()


def test_a_failed_migration_is_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails halfway leaves the schema of the previous one."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        monkeypatch.setattr(
            migrations, "MIGRATIONS", ("CREATE TABLE a (x);", "CREATE TABLE b (x); CREATE TABLE a (x);")
        )
        with pytest.raises(sqlite3.OperationalError, match="table a already exists"):
            migrate(connection)
        connection.rollback()
        assert list(connection.execute("SELECT name FROM sqlite_master")) == [("a",)]
        assert stored_version(connection) == 1
