"""The rollups of runs in the store: their counts and distributions by hour and by quarter of a day."""

import math
from random import Random

import msgspec
import pytest

from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, OutputSpeed, Usage
from streamcanary.model.statistics.quantile_sketch import quantile
from streamcanary.model.statistics.rollup import HOUR, QUARTER_DAY, Rollup, RunCounts
from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from streamcanary.store.recorded_runs import read_recorded_rollups, sum_recorded_counts
from streamcanary.store.tables import history, rollups
from support.store.builders import NOON, FrozenClock, make_outcome
from support.store.databases import Database

DAY = 24 * HOUR
MIDNIGHT = int(NOON // DAY) * DAY
FAULT = make_fault(FaultKind.OVERLOADED, Phase.HEADERS, "busy", status=503)


def run(number: int, at: float, kind: OutcomeKind = OutcomeKind.OK, **changes: object) -> Outcome:
    """Build a run that started ``at`` seconds after midnight."""
    fault = FAULT if kind in (OutcomeKind.FAILED, OutcomeKind.FAILED_OVER) else None
    values = {"kind": kind, "started": MIDNIGHT + at, "fault": fault, **changes}
    return make_outcome(number, **values)


def only(connection: Connection) -> Rollup:
    """Return the only rollup."""
    (rollup,) = rollups.read_rollups(connection, 0)
    return rollup


def test_each_outcome_is_counted_in_its_hour(connection: Connection) -> None:
    """The first second of an hour begins a rollup of its own."""
    runs = [run(number, 7_190 + number, kind) for number, kind in enumerate(OutcomeKind)]
    rollups.add_runs(connection, [*runs, run(10, 7_200), run(11, 10_799.9)])
    every = RunCounts(ok=1, slow=1, failed_over=1, failed=1, internal_error=1, skipped=1, first_attempts_failed=2)
    assert [("chat", MIDNIGHT + HOUR, HOUR, every), ("chat", MIDNIGHT + 2 * HOUR, HOUR, RunCounts(ok=2))] == list(
        rollups.read_counts(connection, 0)
    )


def test_a_first_attempt_that_failed_is_counted_after_a_successful_retry(connection: Connection) -> None:
    """Its fault is counted by kind; one of the daemon itself counts by kind only."""
    delayed = make_fault(FaultKind.CLIENT_DELAYED, Phase.HEADERS, "late")
    for number, fault in enumerate((FAULT, delayed, None)):
        attempts = (Attempt(number=1, route="m", started=0, duration=1, fault=fault),)
        rollups.add_runs(connection, [run(number, 0, attempts=attempts)])
    found = only(connection)
    assert RunCounts(ok=3, first_attempts_failed=1) == found.counts
    assert {"overloaded": 1, "client_delayed": 1} == found.details.first_failures
    assert {} == found.details.failures


def test_attempts_tokens_and_cost_are_summed_up(connection: Connection) -> None:
    """Runs without usage or a price add nothing."""
    attempts = (Attempt(number=1, route="m", started=0, duration=1),) * 2
    usage = Usage(input_tokens=3, output_tokens=5)
    rollups.add_runs(connection, [run(1, 0, attempts=attempts, usage=usage, cost=0.5), run(2, 1), run(3, 2, cost=0.25)])
    details = only(connection).details
    assert (2, 3, 5, 0.75) == (details.attempts, details.input_tokens, details.output_tokens, details.cost)


def test_an_absurd_cost_does_not_lose_the_hour(connection: Connection) -> None:
    """A cost that no provider asks for is bounded, so that the details stay readable."""
    rollups.add_runs(connection, [run(1, 0, time_to_first_token=0.5)])
    for number, cost in enumerate((3e15, 8e15, math.inf, math.nan, -1.0), 2):
        rollups.add_runs(connection, [run(number, number, cost=cost)])
    details = only(connection).details
    assert (1e15, 1) == (details.cost, sum(details.first_token.values()))


def test_values_of_answers_are_kept_as_distributions(connection: Connection) -> None:
    """Quantiles are within 2 %; a speed is in seconds for each token; values that the daemon distorted are left out."""
    speed = OutputSpeed(tokens_per_second=50.0, seconds=1.0)
    runs = [run(n, n, time_to_first_token=0.5, max_gap=0.0, output_speed=speed, duration=2.0) for n in range(9)]
    late = run(9, 9, time_to_first_token=9.0, max_gap=9.0, duration=9.0, lag=3.0)
    failed = run(10, 10, OutcomeKind.FAILED, duration=30.0)
    rollups.add_runs(connection, [*runs, late, failed])
    details = only(connection).details
    for name, expected in (("first_token", 0.5), ("max_gap", 0.0), ("duration", 2.0), ("tokens_per_second", 0.02)):
        assert expected == pytest.approx(quantile(details.sketch(name), 1.0), rel=0.02)
        assert 9 == sum(details.sketch(name).values())


def test_failures_after_failures_are_counted_across_hours_and_batches(connection: Connection) -> None:
    """A skipped run is no sample; a good run ends the failures."""
    kinds = {"x": OutcomeKind.FAILED, ".": OutcomeKind.OK, "-": OutcomeKind.SKIPPED}
    for number, letter in enumerate("xx.x-x|xx.|.x"):
        if letter != "|":
            rollups.add_runs(connection, [run(number, number * 600, kinds[letter])])
    repeats = [rollup.details.repeats for rollup in rollups.read_rollups(connection, 0)]
    assert [2, 2, 0] == repeats


def test_hours_become_quarters_of_a_day_after_two_days(connection: Connection) -> None:
    """The counts and distributions of the quarter are those of its hours; a late run is added to the quarter."""
    for hour in range(12):
        rollups.add_runs(connection, [run(hour, hour * HOUR, time_to_first_token=1.0 + hour)])
    assert 0 == rollups.prune_rollups(connection, MIDNIGHT + QUARTER_DAY + 2 * DAY - 1)
    assert 6 == rollups.prune_rollups(connection, MIDNIGHT + QUARTER_DAY + 2 * DAY)
    rollups.add_runs(connection, [run(20, 2 * HOUR, OutcomeKind.FAILED)])
    assert 1 == rollups.prune_rollups(connection, MIDNIGHT + QUARTER_DAY + 2 * DAY)
    first, *others = rollups.read_rollups(connection, 0)
    assert (MIDNIGHT, QUARTER_DAY) == (first.started, first.length)
    assert RunCounts(ok=6, failed=1, first_attempts_failed=1) == first.counts
    assert 6 == sum(first.details.first_token.values())
    assert [HOUR] * 6 == [rollup.length for rollup in others]


def test_quarters_are_kept_for_35_days(connection: Connection) -> None:
    """They are deleted with their details."""
    rollups.add_runs(connection, [run(1, 0)])
    assert 1 == rollups.prune_rollups(connection, MIDNIGHT + 35 * DAY)
    assert 1 == rollups.prune_rollups(connection, MIDNIGHT + 35 * DAY + 1)
    assert [] == list(rollups.read_counts(connection, 0))
    assert (0,) == connection.execute("SELECT count(*) FROM rollup_details").fetchone()


def test_the_number_of_rollups_is_bounded(connection: Connection) -> None:
    """Rollups in the future do not age, so the earliest are deleted."""
    rollups.add_runs(connection, [run(number, 10 * DAY + number * HOUR) for number in range(5)])
    assert 3 == rollups.prune_rollups(connection, MIDNIGHT, limit=2)
    assert [13, 14] == [
        (started - MIDNIGHT) // HOUR % DAY - 230 for _, started, *_ in rollups.read_counts(connection, 0)
    ]


def test_each_pruning_changes_a_bounded_number(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many hours are merged in several calls, so that queued writes do not wait long."""
    monkeypatch.setattr(rollups, "MAX_PRUNED_PER_CALL", 2)
    rollups.add_runs(connection, [run(number, number * HOUR) for number in range(5)])
    later = MIDNIGHT + 4 * DAY
    assert [2, 2, 1, 0] == [rollups.prune_rollups(connection, later) for _ in range(4)]
    assert RunCounts(ok=5) == only(connection).counts


def test_counts_since_several_times(connection: Connection) -> None:
    """The counts are in the order of the times; a period that began before a time is not counted since then."""
    rollups.add_runs(connection, [run(number, number * HOUR) for number in range(5)])
    rollups.add_runs(connection, [run(9, 0, OutcomeKind.FAILED, canary="other")])
    starts = (MIDNIGHT + 3 * HOUR, MIDNIGHT, MIDNIGHT + 3 * HOUR + 1)
    failed = RunCounts(failed=1, first_attempts_failed=1)
    assert {
        "chat": (RunCounts(ok=2), RunCounts(ok=5), RunCounts(ok=1)),
        "other": (RunCounts(), failed, RunCounts()),
    } == rollups.sum_counts(connection, starts)


def test_a_renamed_canary_has_the_rollups_of_its_former_name(connection: Connection) -> None:
    """Two names may be those of one canary; canaries that are not named are left out."""
    for number, name in enumerate(("old", "new", "other")):
        rollups.add_runs(connection, [run(number, 0, canary=name)])
    names = {"old": "new", "new": "new", "absent": "absent"}
    expected = {"new": (RunCounts(ok=2),), "absent": (RunCounts(),)}
    assert expected == rollups.sum_counts(connection, [0.0], names)
    assert ["new", "new"] == [rollup.canary for rollup in rollups.read_rollups(connection, 0, names)]


def test_a_later_version_may_append_fields(connection: Connection) -> None:
    """Details with more fields than this version knows are read."""
    rollups.add_runs(connection, [run(1, 0, cost=1.0)])
    (value,) = connection.execute("SELECT value FROM rollup_details").fetchone()
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(value), {"new": 1}])
    connection.execute("UPDATE rollup_details SET value = ?", (longer,))
    assert 1.0 == only(connection).details.cost


async def test_a_run_is_counted_once(store: Store) -> None:
    """A run that is committed again, alone or with others, is not counted again."""
    await store.commit([], [make_outcome(1), make_outcome(1)])
    await store.commit([], [make_outcome(1), make_outcome(2)])
    assert {"chat": (RunCounts(ok=2),)} == await store.sum_counts([0.0])


async def test_the_writer_merges_hours_every_ten_minutes(store: Store, clock: FrozenClock) -> None:
    """Merging follows a write, as the pruning of runs does."""
    await store.commit([], [run(1, 0)])
    await store.probe()
    clock.advance(4.0 * DAY)
    await store.commit([], [run(2, 4 * DAY)])
    await store.probe()
    assert [QUARTER_DAY, HOUR] == [length for _, _, length, _ in await store.read_counts(0)]
    assert [QUARTER_DAY, HOUR] == [each.length for each in await store.read_rollups(0, {"chat": "chat"})]


async def test_rollups_are_read_while_a_daemon_has_the_store_open(store: Store, database: Database) -> None:
    """Another process reads them from the database, by the names of its configuration."""
    await store.commit([], [make_outcome(1), make_outcome(2, canary="other")])
    assert {"new": (RunCounts(ok=1),)} == sum_recorded_counts(database.config(), [0.0], {"chat": "new"})
    (rollup,) = read_recorded_rollups(database.config(), 0, {"chat": "new"})
    assert ("new", RunCounts(ok=1)) == (rollup.canary, rollup.counts)


@pytest.mark.parametrize("seed", range(5))
def test_each_run_is_counted_once_whatever_happens(connection: Connection, seed: int) -> None:
    """Transactions fail and are made again, runs are recorded twice and late, the clock steps, hours are merged."""
    random = Random(seed)  # noqa: S311 - a simulation
    now, recorded = float(MIDNIGHT), dict[str, Outcome]()
    for number in range(400):
        now += random.choice((60, 600, 3_600, 30_000, -20_000))
        late = random.choice((0, 0, 0, 3_600, 3 * DAY))
        kind = random.choice((OutcomeKind.OK, OutcomeKind.FAILED, OutcomeKind.SLOW, OutcomeKind.SKIPPED))
        outcomes = [
            run(number, now - late - MIDNIGHT, kind),
            *random.choices(list(recorded.values()), k=bool(recorded)),
        ]
        for is_lost in (random.random() < 0.3, False):
            connection.execute("BEGIN")
            rollups.add_runs(connection, [each for each in outcomes if history.record_run(connection, each)])
            if random.random() < 0.2:
                rollups.prune_rollups(connection, now)
            connection.execute("ROLLBACK" if is_lost else "COMMIT")
        recorded |= {outcome.run_id: outcome for outcome in outcomes}
    expected = RunCounts()
    for outcome in recorded.values():
        expected.add(outcome)
    counts, failures, lengths = RunCounts(), 0, set()
    for rollup in rollups.read_rollups(connection, 0):
        counts.merge(rollup.counts)
        lengths.add(rollup.length)
        failures += rollup.details.failures.get("overloaded", 0)
    assert (expected, expected.failed, {HOUR, QUARTER_DAY}) == (counts, failures, lengths)
