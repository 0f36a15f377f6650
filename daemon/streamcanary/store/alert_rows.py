"""What alerting remembers: four tables of values under keys of its own making."""

import sqlite3
from collections.abc import Iterable
from typing import Final, get_args

from streamcanary.model.alerts.row_change import RowChange, StateTable

TABLES: Final[tuple[StateTable, ...]] = get_args(StateTable)

_UPSERT_SQL = {
    table: f"INSERT INTO {table} (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"  # noqa: S608 - names of our own
    for table in TABLES
}
_DELETE_SQL = {table: f"DELETE FROM {table} WHERE key = ?" for table in TABLES}  # noqa: S608 - names of our own
_SELECT_SQL = {table: f"SELECT key, value FROM {table}" for table in TABLES}  # noqa: S608 - names of our own


def save_rows(connection: sqlite3.Connection, rows: Iterable[RowChange]) -> None:
    """Make the changes in their order; the transaction is the caller's.

    Raises:
        sqlite3.Error: if one cannot be made.
    """
    for row in rows:
        if row.value is None:
            connection.execute(_DELETE_SQL[row.table], (row.key,))
        else:
            connection.execute(_UPSERT_SQL[row.table], (row.key, row.value))


def load_rows(connection: sqlite3.Connection) -> dict[StateTable, dict[str, bytes]]:
    """Return all there is, by table and key.

    Raises:
        sqlite3.Error: if it cannot be read.
    """
    return {table: dict(connection.execute(_SELECT_SQL[table])) for table in TABLES}
