import sqlite3
from collections.abc import Iterator

import pytest

from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, Usage
from streamcanary.store import history
from streamcanary.store.database import Store
from streamcanary.store.sqlite.migrations import migrate
from support.store.builders import NOON, FrozenClock, make_outcome


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """Provide a migrated database in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


def ids(outcomes: list[Outcome]) -> list[str]:
    """Name the runs."""
    return [outcome.run_id for outcome in outcomes]


def test_a_run_comes_back_whole(connection: sqlite3.Connection) -> None:
    """Attempts, faults and usage survive the way through the database."""
    fault = make_fault(FaultKind.RATE_LIMITED, Phase.HEADERS, "slow down", status=429, retry_after=2.5)
    outcome = make_outcome(
        1,
        kind=OutcomeKind.FAILED_OVER,
        fault=fault,
        attempts=(Attempt(number=1, route="primary", started=NOON, duration=0.2, fault=fault),),
        usage=Usage(input_tokens=3, output_tokens=5),
        trace_id="0" * 32,
    )
    history.record_run(connection, outcome)
    assert history.recent_runs(connection) == [outcome]


def test_recording_a_run_again_changes_nothing(connection: sqlite3.Connection) -> None:
    """A write whose answer got lost may be made again."""
    history.record_run(connection, make_outcome(1))
    history.record_run(connection, make_outcome(1, kind=OutcomeKind.FAILED))
    assert history.recent_runs(connection) == [make_outcome(1)]


def test_recent_runs_come_in_the_order_in_which_they_ended_whatever_the_clock_said(
    connection: sqlite3.Connection,
) -> None:
    """A clock that was set back between two runs does not swap them."""
    for outcome in (make_outcome(1), make_outcome(2, started=NOON - 9999), make_outcome(3)):
        history.record_run(connection, outcome)
    assert ids(history.recent_runs(connection, limit=2)) == ["run-3", "run-2"]


def test_recent_runs_can_be_those_of_one_canary(connection: sqlite3.Connection) -> None:
    """The page of a canary shows that canary."""
    for outcome in (make_outcome(1), make_outcome(2, canary="other"), make_outcome(3)):
        history.record_run(connection, outcome)
    assert ids(history.recent_runs(connection, "chat")) == ["run-3", "run-1"]
    assert ids(history.recent_runs(connection, "nobody")) == []


def test_a_run_that_cannot_be_read_is_left_out(connection: sqlite3.Connection) -> None:
    """One run with a fault kind of a later version does not hide the others."""
    for number in (1, 2):
        history.record_run(connection, make_outcome(number))
    connection.execute("""UPDATE runs SET outcome = '{"run_id": "run-1", "kind": "levitated"}' WHERE id = 1""")
    assert ids(history.recent_runs(connection)) == ["run-2"]


def test_half_a_surrogate_pair_does_not_lose_the_run(connection: sqlite3.Connection) -> None:
    """Providers send what they like; text that has no UTF-8 form is mended."""
    history.record_run(connection, make_outcome(1, model="gpt-\ud800é", kind=OutcomeKind.FAILED))
    assert history.recent_runs(connection) == [make_outcome(1, model="gpt-?é", kind=OutcomeKind.FAILED)]


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        (OutcomeKind.OK, False),
        (OutcomeKind.SLOW, False),
        (OutcomeKind.SKIPPED, False),
        (OutcomeKind.FAILED_OVER, True),
        (OutcomeKind.FAILED, True),
        (OutcomeKind.INTERNAL_ERROR, True),
    ],
)
def test_failures_are_kept_four_times_as_long(connection: sqlite3.Connection, kind: OutcomeKind, *, kept: bool) -> None:
    """Whoever looks for the first failure of an outage finds it, when the good runs of that time are gone."""
    history.record_run(connection, make_outcome(0, kind=kind))
    assert history.prune_runs(connection, NOON + 100, retention=100) == 0
    assert history.prune_runs(connection, NOON + 101, retention=100) == (0 if kept else 1)
    assert history.prune_runs(connection, NOON + 400, retention=100) == 0
    assert history.prune_runs(connection, NOON + 401, retention=100) == (1 if kept else 0)
    assert history.recent_runs(connection) == []


def test_the_number_of_runs_is_bounded_for_either_sort(connection: sqlite3.Connection) -> None:
    """Runs from a clock that was years ahead never age: the oldest by order go."""
    for number in range(5):
        history.record_run(connection, make_outcome(number, started=NOON * 2))
        history.record_run(connection, make_outcome(number + 10, started=NOON * 2, kind=OutcomeKind.FAILED))
    assert history.prune_runs(connection, NOON, retention=100, limit=2) == 6
    assert ids(history.recent_runs(connection)) == ["run-14", "run-4", "run-13", "run-3"]


def test_pruning_takes_a_bounded_bite(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog is removed in several goes, so that the writes behind it do not wait."""
    monkeypatch.setattr(history, "MAX_PRUNED_PER_CALL", 2)
    for number in range(5):
        history.record_run(connection, make_outcome(number))
    assert [history.prune_runs(connection, NOON + 9999, retention=1) for _ in range(4)] == [2, 2, 1, 0]


async def test_the_writer_prunes_now_and_then(store: Store, clock: FrozenClock) -> None:
    """Pruning is due every ten minutes of the monotonic clock, after a write, never instead of one."""
    await store.commit([], [make_outcome(0)])
    await store.probe()  # answered once the pruning after the commit is over
    clock.wall_time += 99_999  # old enough, and nothing is due
    await store.commit([], [make_outcome(100_000)])
    await store.probe()
    assert ids(await store.read(history.recent_runs)) == ["run-100000", "run-0"]
    clock.monotonic_time += 600
    await store.commit([], [make_outcome(100_001)])  # due: happens after this one is answered
    await store.probe()
    assert ids(await store.read(history.recent_runs)) == ["run-100001", "run-100000"]


async def test_a_store_that_was_just_opened_prunes_at_once(store: Store) -> None:
    """A daemon that is restarted every five minutes does not grow for ever."""
    await store.commit([], [make_outcome(0, started=NOON - 99_999)])
    await store.probe()
    assert await store.read(history.recent_runs) == []
