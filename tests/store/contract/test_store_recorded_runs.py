"""Reading recorded runs while a daemon writes them."""

import msgspec
import pytest

from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.outcome import Outcome
from streamcanary.model.status.alert_history import PastIncident, past_incident_id
from streamcanary.store import recorded_runs
from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from streamcanary.store.recorded_runs import read_alert_history, read_baselines, read_runs
from streamcanary.store.tables.history import UnreadableRun
from support.store.builders import NOON, make_outcome
from support.store.databases import Database


async def test_runs_are_read_in_the_order_of_their_ends(
    store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader yields all runs, or the last ones, a few rows at once."""
    monkeypatch.setattr(recorded_runs, "_ROWS_PER_QUERY", 3)
    runs = [make_outcome(number) for number in range(10)]
    await store.commit([], runs)
    assert (runs, runs[-4:]) == (list(read_runs(database.config())), list(read_runs(database.config(), limit=4)))


async def test_runs_are_read_while_a_daemon_has_the_store_open(
    store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader omits runs that the daemon writes after the start of the reading."""
    monkeypatch.setattr(recorded_runs, "_ROWS_PER_QUERY", 2)
    await store.commit([], [make_outcome(number) for number in range(5)])
    runs = read_runs(database.config())
    first = next(runs)
    await store.commit([], [make_outcome(5)])
    assert [f"run-{number}" for number in range(5)] == [run.run_id for run in (first, *runs)]


async def test_a_row_that_is_not_a_run_is_reported_and_skipped(store: Store, database: Database) -> None:
    """The reader yields an UnreadableRun without terminal escapes for every invalid row."""
    far = msgspec.json.encode(make_outcome(7, started=1e300))
    values = [b"{}", b"\xff\xfe", b"[" * 100_000, b" " * (recorded_runs.MAX_RUN_BYTES + 1), far]

    def put(connection: Connection) -> None:
        connection.executemany(
            "INSERT INTO runs (run_id, canary, kind, started, failed, outcome) VALUES (?, 'chat', 'ok', 0, 0, ?)",
            [(f"bad-{number}\x1b[31m", value) for number, value in enumerate(values)],
        )

    await store.commit([], [make_outcome(1)])
    await store.write(put)
    good, *bad = read_runs(database.config())
    assert isinstance(good, Outcome)
    assert len(values) == len(bad)
    assert all(isinstance(row, UnreadableRun) and "\x1b" not in row.run_id and row.reason for row in bad)


async def test_alerts_are_read_without_damaged_rows(store: Store, database: Database) -> None:
    """The reader returns the alerts that fired or resolved since a time; a row that is not an alert is left out."""
    old, first, second = (
        PastIncident(
            id=past_incident_id("k", at), key="k", rule="R", subject="chat", opened=at, since=at, resolved=at + 9
        )
        for at in (NOON - 900, NOON - 500, NOON - 100)
    )
    rows = {one.id: msgspec.json.encode(one) for one in (old, first, second)} | {"bad": b"{", "other": b"[]"}
    await store.commit([RowChange("alert_history", key, value) for key, value in rows.items()], [])
    assert [second, first] == read_alert_history(database.config(), NOON - 495)


async def test_learned_baselines_are_read(store: Store, database: Database) -> None:
    """The reader returns the rows by key."""
    await store.commit([RowChange("baselines", "a", b"1"), RowChange("baselines", "b", b"2")], [])
    assert {"a": b"1", "b": b"2"} == read_baselines(database.config())
