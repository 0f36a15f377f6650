"""The migration that fills the rollups from the recorded runs."""

import sqlite3
from collections.abc import Iterator

import pytest

from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import OutcomeKind
from streamcanary.model.statistics.rollup import HOUR, RunCounts
from streamcanary.store.sqlite import schema_6_rollups
from streamcanary.store.sqlite.migrations import migrate
from streamcanary.store.tables import history, rollups
from support.store.builders import NOON, make_outcome

FAULT = make_fault(FaultKind.STALLED, Phase.STREAM, "silent")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """Provide a database of schema version 5 in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, 5)
    yield connection
    connection.close()


def test_the_rollups_are_those_that_the_runs_would_have_made(connection: sqlite3.Connection) -> None:
    """Each run counts once, whichever its canary and hour."""
    runs = []
    for number in range(400):
        kind = OutcomeKind.FAILED if number % 7 in (0, 3) and number > 5 else OutcomeKind.OK
        fault = FAULT if kind is OutcomeKind.FAILED else None
        canary = ("a", "b", "c")[number % 3]
        started = NOON + 60 * number
        changes = {"fault": fault, "canary": canary, "started": started, "time_to_first_token": 1 + number / 100}
        runs.append(make_outcome(number, kind=kind, **changes))
        history.record_run(connection, runs[-1])
    migrate(connection)
    found = list(rollups.read_rollups(connection, 0))
    for table in ("rollups", "rollup_details"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608
    rollups.add_runs(connection, runs)
    assert list(rollups.read_rollups(connection, 0)) == found
    assert 400 == sum(rollup.counts.ok + rollup.counts.failed for rollup in found)
    assert 0 < sum(rollup.details.repeats for rollup in found)


def test_failures_that_outlived_the_good_runs_are_left_out(connection: sqlite3.Connection) -> None:
    """The store keeps failed runs longer, so the earliest ones would look like an outage."""
    for number in range(5):
        history.record_run(connection, make_outcome(number, kind=OutcomeKind.FAILED, fault=FAULT))
    history.record_run(connection, make_outcome(5))
    history.record_run(connection, make_outcome(6, kind=OutcomeKind.FAILED, fault=FAULT))
    migrate(connection)
    expected = {"chat": (RunCounts(ok=1, failed=1, first_attempts_failed=1),)}
    assert expected == rollups.sum_counts(connection, [0.0])


def test_runs_that_cannot_be_read_are_left_out(connection: sqlite3.Connection) -> None:
    """The migration goes on after each of them."""
    for number, value in enumerate((b"{}", "text", 7, b"\xff", b"[" * 100_000, b" " * 2_000_000)):
        history.record_run(connection, make_outcome(number))
        connection.execute("UPDATE runs SET outcome = ? WHERE run_id = ?", (value, f"run-{number}"))
    history.record_run(connection, make_outcome(8, started=1e300))
    history.record_run(connection, make_outcome(9))
    migrate(connection)
    assert {"chat": (RunCounts(ok=1),)} == rollups.sum_counts(connection, [0.0])


def test_the_memory_of_the_migration_is_bounded(connection: sqlite3.Connection, monkeypatch) -> None:
    """Only some rollups are in memory at once."""
    monkeypatch.setattr(schema_6_rollups, "_MAX_PERIODS", 3)
    for number in range(20):
        history.record_run(connection, make_outcome(number, started=NOON + number * HOUR))
    migrate(connection)
    assert {"chat": (RunCounts(ok=20),)} == rollups.sum_counts(connection, [0.0])


def test_only_the_latest_runs_are_read(connection: sqlite3.Connection, monkeypatch) -> None:
    """So the time of the first start is bounded, whatever the store holds."""
    monkeypatch.setattr(schema_6_rollups, "_MAX_RUNS", 4)
    for number in range(20):
        history.record_run(connection, make_outcome(number))
    migrate(connection)
    assert {"chat": (RunCounts(ok=4),)} == rollups.sum_counts(connection, [0.0])
