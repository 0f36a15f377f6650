from streamcanary.model.alerts.row_change import RowChange
from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from streamcanary.store.tables import alert_rows

EMPTY: dict[str, dict[str, bytes]] = {table: {} for table in alert_rows.TABLES}


def test_a_new_store_has_empty_tables(connection: Connection) -> None:
    """All tables of alerting exist from the start."""
    assert alert_rows.load_rows(connection) == EMPTY


def test_rows_are_saved_and_loaded_by_table_and_key(connection: Connection) -> None:
    """The same key in two tables identifies two rows."""
    alert_rows.save_rows(
        connection,
        [RowChange("detectors", "k", b"1"), RowChange("incidents", "k", b"2"), RowChange("notifications", "n", b"3")],
    )
    assert alert_rows.load_rows(connection) == {
        **EMPTY,
        "detectors": {"k": b"1"},
        "incidents": {"k": b"2"},
        "notifications": {"n": b"3"},
    }


def test_the_last_value_of_a_key_is_kept(connection: Connection) -> None:
    """Changes are applied in order, also within one call."""
    alert_rows.save_rows(
        connection, [RowChange("groups", "a", b"1"), RowChange("groups", "a", b"2"), RowChange("groups", "b", b"1")]
    )
    alert_rows.save_rows(connection, [RowChange("groups", "b", None), RowChange("groups", "never there", None)])
    assert alert_rows.load_rows(connection)["groups"] == {"a": b"2"}


def test_values_and_keys_are_stored_literally(connection: Connection) -> None:
    """Quotes, NULs and values of a megabyte are stored unchanged."""
    row = RowChange("notifications", "'; DROP TABLE notifications; --", b"\x00'\xff" * 350_000)
    alert_rows.save_rows(connection, [row])
    assert alert_rows.load_rows(connection)["notifications"] == {row.key: row.value}


async def test_the_store_loads_the_rows_that_were_committed(store: Store) -> None:
    """``load_rows`` returns the rows that ``commit`` saved."""
    await store.commit([RowChange("incidents", "a", b"{}")], [])
    assert await store.load_rows() == {**EMPTY, "incidents": {"a": b"{}"}}
