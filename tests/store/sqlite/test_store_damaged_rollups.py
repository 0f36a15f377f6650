"""Damaged rollups: a row that cannot be read costs that row, and the store of an older daemon has none."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streamcanary.model.outcome import Outcome
from streamcanary.model.statistics.rollup import HOUR, RunCounts
from streamcanary.store.config import StoreConfig
from streamcanary.store.connection import Connection
from streamcanary.store.errors import RunsUnreadable
from streamcanary.store.recorded_runs import read_recorded_rollups, sum_recorded_counts
from streamcanary.store.sqlite.migrations import migrate
from streamcanary.store.tables import rollups
from support.store.builders import NOON, make_outcome
from support.store.databases import SqliteDatabase

DAY = 24 * HOUR
MIDNIGHT = int(NOON // DAY) * DAY
DAMAGE = ("NULL", "'text'", "-1", "x'ff'", "9223372036854775807", "1e300")


@pytest.fixture
def connection(path: Path) -> Iterator[Connection]:
    """Provide a connection to the tables of a new store."""
    with SqliteDatabase(path).connection() as connection:
        yield connection


def run(number: int, at: float, **changes: object) -> Outcome:
    """Build a run that started ``at`` seconds after midnight."""
    return make_outcome(number, started=MIDNIGHT + at, **changes)


@pytest.mark.parametrize("value", DAMAGE)
@pytest.mark.parametrize("column", ["ok", "failed", "length"])
def test_a_damaged_count_costs_at_most_its_row(connection: Connection, column: str, value: str) -> None:
    """Reading, adding a run and pruning go on, and the other rows are read."""
    rollups.add_runs(connection, [run(1, 0), run(2, HOUR), run(3, 2 * HOUR)])
    if column == "length" and value == "NULL":
        value = "7"  # part of the key: SQLite itself rejects NULL
    connection.execute(f"UPDATE rollups SET {column} = {value} WHERE started <= {MIDNIGHT + HOUR}")  # noqa: S608
    rollups.add_runs(connection, [run(4, 0), run(5, 2 * HOUR)])
    assert RunCounts(ok=2) == next(
        counts for _, started, _, counts in rollups.read_counts(connection, 0) if started == MIDNIGHT + 2 * HOUR
    )
    assert 1 <= rollups.sum_counts(connection, [0.0])["chat"][0].ok <= 6
    rollups.prune_rollups(connection, MIDNIGHT + 4 * DAY)
    rollups.prune_rollups(connection, MIDNIGHT + 40 * DAY)


@pytest.mark.parametrize(
    "value", ["NULL", "7", "'text'", "x''", "x'c1'", "zeroblob(70000)", "x'81'", "x'9f8181'", "x'918102ff'"]
)
def test_damaged_details_cost_their_row(connection: Connection, value: str) -> None:
    """The next run begins new ones, and other rows are read."""
    rollups.add_runs(connection, [run(1, 0, time_to_first_token=1.0), run(2, HOUR)])
    connection.execute(f"UPDATE rollup_details SET value = {value} WHERE started = {MIDNIGHT}")  # noqa: S608
    assert [MIDNIGHT + HOUR] == [rollup.started for rollup in rollups.read_rollups(connection, 0)]
    rollups.add_runs(connection, [run(3, 0, time_to_first_token=2.0)])
    first, _ = rollups.read_rollups(connection, 0)
    assert 1 == sum(first.details.first_token.values())
    assert 2 == first.counts.ok
    connection.execute(f"UPDATE rollup_details SET value = {value}")  # noqa: S608
    assert 2 == rollups.prune_rollups(connection, MIDNIGHT + 4 * DAY)


@pytest.mark.parametrize("name", ["x'ff'", "CAST(x'ff' AS TEXT)", "7", "''"])
def test_a_damaged_name_costs_its_rows(connection: Connection, name: str) -> None:
    """Reading all canaries ends, and finds the others."""
    rollups.add_runs(connection, [run(1, 0), run(2, 0, canary="other"), run(3, 0, canary="zebra")])
    connection.execute(f"UPDATE rollups SET canary = {name} WHERE canary = 'other'")  # noqa: S608
    found = {canary for canary, *_ in rollups.read_counts(connection, 0)}
    assert {"chat", "zebra"} <= found
    rollups.prune_rollups(connection, MIDNIGHT + 4 * DAY)


async def test_a_store_of_an_older_daemon_has_no_rollups(path: Path) -> None:
    """Reading them is no error."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, 5)
    assert ({}, []) == (
        sum_recorded_counts(StoreConfig(path=path), [0.0]),
        read_recorded_rollups(StoreConfig(path=path), 0, {"chat": "chat"}),
    )


async def test_rollups_of_a_missing_store_are_an_error(path: Path) -> None:
    """The error says what to give instead."""
    with pytest.raises(RunsUnreadable, match="there is no database"):
        sum_recorded_counts(StoreConfig(path=path), [0.0])
