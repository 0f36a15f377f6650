"""Values that PostgreSQL cannot store: they are replaced, or the write is rejected, and later ones succeed."""

from typing import Any

import pytest

from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreRejected

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
