"""The rows of alerting: seven tables of state and one of history, of values by key.

Alerting defines the keys and encodes the values.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Final, get_args

from streamcanary.model.alerts.row_change import AlertTable, RowChange, StateTable
from streamcanary.store.connection import Connection

TABLES: Final[tuple[StateTable, ...]] = get_args(StateTable)
HISTORY: Final[AlertTable] = "alert_history"

_UPSERT_SQL: Final[dict[AlertTable, str]] = {
    table: f"INSERT INTO {table} (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"  # noqa: S608 - fixed names
    for table in (*TABLES, HISTORY)
}
_DELETE_SQL: Final[dict[AlertTable, str]] = {
    table: f"DELETE FROM {table} WHERE key = ?"  # noqa: S608 - fixed names
    for table in (*TABLES, HISTORY)
}
_SELECT_SQL = {table: f"SELECT key, value FROM {table}" for table in TABLES}  # noqa: S608 - fixed names


def save_rows(connection: Connection, rows: Iterable[RowChange]) -> None:
    """Apply the changes in order, within the transaction of the caller.

    Raises:
        sqlite3.Error, psycopg.Error: if a change fails.
    """
    for (table, is_deleted), some in groupby(rows, key=lambda row: (row.table, row.value is None)):
        if is_deleted:
            connection.executemany(_DELETE_SQL[table], [(row.key,) for row in some])
        else:
            connection.executemany(_UPSERT_SQL[table], [(row.key, row.value) for row in some])


def load_rows(connection: Connection, tables: Iterable[StateTable] = TABLES) -> dict[StateTable, dict[str, bytes]]:
    """Return all rows of ``tables``, by table and key.

    The value of a damaged row need not be what was saved: without a value it is empty, and invalid UTF-8 in a key is
    replaced. Alerting checks each row when it decodes it.

    Raises:
        sqlite3.Error, psycopg.Error: if they cannot be read.
    """
    return {
        table: {_as_text(key): _as_bytes(value) for key, value in connection.execute(_SELECT_SQL[table])}
        for table in tables
    }


def _as_text(key: object) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "replace") if isinstance(value, str) else b""
