"""The state of alerting: six tables of values by key. Alerting defines the keys and encodes the values."""

import sqlite3
from collections.abc import Iterable
from typing import Final, get_args

from streamcanary.model.alerts.row_change import RowChange, StateTable

TABLES: Final[tuple[StateTable, ...]] = get_args(StateTable)

_UPSERT_SQL = {
    table: f"INSERT INTO {table} (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"  # noqa: S608 - fixed names
    for table in TABLES
}
_DELETE_SQL = {table: f"DELETE FROM {table} WHERE key = ?" for table in TABLES}  # noqa: S608 - fixed names
_SELECT_SQL = {table: f"SELECT key, value FROM {table}" for table in TABLES}  # noqa: S608 - fixed names


def save_rows(connection: sqlite3.Connection, rows: Iterable[RowChange]) -> None:
    """Apply the changes in order, within the transaction of the caller.

    Raises:
        sqlite3.Error: if a change fails.
    """
    for row in rows:
        if row.value is None:
            connection.execute(_DELETE_SQL[row.table], (row.key,))
        else:
            connection.execute(_UPSERT_SQL[row.table], (row.key, row.value))


def load_rows(connection: sqlite3.Connection) -> dict[StateTable, dict[str, bytes]]:
    """Return all rows, by table and key.

    Raises:
        sqlite3.Error: if they cannot be read.
    """
    return {table: dict(connection.execute(_SELECT_SQL[table])) for table in TABLES}
