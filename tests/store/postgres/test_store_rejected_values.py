"""Values that PostgreSQL cannot store: they are replaced, or the write is rejected, and later ones succeed."""

from typing import Any

import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.replicas import ALERTS, Ownership
from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreRejected
from streamcanary.store.postgres.replication.alert_inputs import PostgresAlertInputs
from streamcanary.store.postgres.replication.lease_store import PostgresLeaseStore
from support.store.lease_databases import join

INSERT = "INSERT INTO spend VALUES (?, ?, 0, 0, 0, ?)"


@pytest.mark.parametrize(
    "values",
    [("a", 2**63, 1), ("a", 2**200, 1), ("a", float("nan"), 1), ("a", 1, None)],
    ids=["out of range", "far out of range", "not a number", "missing"],
)
async def test_a_write_of_values_that_the_database_rejects_says_so(store: Store, values: tuple[Any, ...]) -> None:
    """The caller can distinguish it from a failure that passes; the database still counts as writable."""
    with pytest.raises(StoreRejected, match="rejects the values of a write"):
        await store.write(lambda connection: connection.execute(INSERT, values))

    assert store.is_writable()
    await store.write(lambda connection: connection.execute(INSERT, ("b", 1, 1)))


async def test_text_that_the_database_cannot_store_is_replaced(store: Store) -> None:
    """NUL, which a provider may send."""

    def write(connection: Connection) -> list[tuple[Any, ...]]:
        connection.execute(INSERT, ("a\0b", 1, 1))
        return connection.execute("SELECT day FROM spend").fetchall()

    assert [("a\ufffdb",)] == await store.write(write)


async def test_a_commit_of_alerts_leaves_out_the_rows_that_the_database_rejects(store: Store) -> None:
    """Text with a lone surrogate, and what a constraint refuses; all other rows are saved, and inputs are deleted."""
    backend: Any = store.backend
    leases, inputs = PostgresLeaseStore(backend), PostgresAlertInputs(backend)
    session = (await join(leases, "one")).session
    epoch = (await leases.acquire(session, [ALERTS]))[ALERTS].epoch
    await store.write(lambda connection: connection.execute("ALTER TABLE groups ADD CHECK (key <> 'refused')"))
    keys = [*(f"key-{number}" for number in range(20)), "\ud800", "refused"]
    rows = [RowChange("groups", key, b"{}") for key in keys]
    number = await inputs.add("silence_deleted", b'"x"')
    result = await inputs.commit(Ownership(session, epoch), rows, [number])
    assert (1, {"\ud800", "refused"}) == (result.revision, {row.key for row in result.rejected})
    stored = (await inputs.load(["groups"]))[1]["groups"]
    assert (set(keys[:20]), False) == (stored.keys(), await inputs.is_pending(number))
