"""The migrations of the database schema.

A released migration is never changed; a schema change is a further migration. ``PRAGMA user_version`` counts the
applied migrations.
"""

import sqlite3
from collections.abc import Callable
from typing import Final

from streamcanary.store.connection import Connection
from streamcanary.store.schema_steps import STEPS, Step
from streamcanary.store.sqlite.schema_4_renames import rename_tables_and_fields
from streamcanary.store.sqlite.schema_6_rollups import create_rollups

Migration = str | Callable[[sqlite3.Connection], None] | Step
"""One step: an SQL script, or a function that changes the open database within the transaction of its caller."""

APPLICATION_ID: Final = 0x53_43_4E_59  # "SCNY"
"""Marks a database of streamcanary (https://www.sqlite.org/pragma.html#pragma_application_id)."""

MIGRATIONS: Final[tuple[Migration, ...]] = (
    """
    CREATE TABLE detectors (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE incidents (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE groups (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE notices (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID; -- codespell:ignore notices

    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,       -- the order in which they ended, whatever the clock said
        run_id TEXT NOT NULL UNIQUE,
        canary TEXT NOT NULL,
        kind TEXT NOT NULL,
        started REAL NOT NULL,        -- seconds since the epoch
        failed INTEGER NOT NULL,      -- 1: kept longer
        outcome BLOB NOT NULL         -- JSON
    );
    CREATE INDEX runs_by_canary ON runs (canary);
    CREATE INDEX runs_by_age ON runs (failed, started);
    """,
    """
    CREATE TABLE silences (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE sightings (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID; -- codespell:ignore sightings
    """,
    """
    CREATE TABLE spend (
        day TEXT PRIMARY KEY,         -- of UTC: 2026-02-02
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        input_usd REAL NOT NULL,
        output_usd REAL NOT NULL,
        requests INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    rename_tables_and_fields,
    """
    CREATE TABLE baselines (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    """,
    create_rollups,
    """
    CREATE TABLE alert_history (
        key TEXT PRIMARY KEY,         -- begins with the time at which the alert fired, so that it sorts by that
        value BLOB NOT NULL           -- JSON
    ) WITHOUT ROWID;
    """,
    *(step.sqlite for step in STEPS),
)


def known_version() -> int:
    """Return the schema version that this streamcanary writes."""
    return len(MIGRATIONS)


def stored_version(connection: Connection) -> int:
    """Return the schema version of the open database; 0 if it is empty."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection, to: int | None = None) -> None:
    """Run the missing migrations up to version ``to`` (default: all), each in one transaction.

    ``connection`` is in autocommit mode.

    Raises:
        sqlite3.Error: if a migration fails; those before it remain committed, and its own changes are rolled back.
    """
    for number in range(stored_version(connection) + 1, (known_version() if to is None else to) + 1):
        step = MIGRATIONS[number - 1]
        script, change = (step, None) if isinstance(step, str) else ("", step)
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {script}")
            if change is not None:
                change(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
