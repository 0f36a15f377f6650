import pytest

from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, OutputSpeed, PhaseDurations, Retirement, Usage
from streamcanary.model.rate_limit import Quota, RateLimits
from streamcanary.store.connection import Connection
from streamcanary.store.database import Store
from streamcanary.store.tables import history
from support.store.builders import NOON, FrozenClock, make_outcome

FEW, MANY = ["nobody"], [f"nobody-{number}" for number in range(1000)]
"""Canaries without runs; of many, all runs are read."""


def ids(outcomes: list[Outcome]) -> list[str]:
    """Return the run ids."""
    return [outcome.run_id for outcome in outcomes]


def test_a_run_is_loaded_with_all_its_fields(connection: Connection) -> None:
    """Attempts with their phases, faults and usage of a run are saved and loaded unchanged."""
    fault = make_fault(FaultKind.RATE_LIMITED, Phase.HEADERS, "slow down", status=429, retry_after=2.5)
    outcome = make_outcome(
        1,
        kind=OutcomeKind.FAILED_OVER,
        fault=fault,
        attempts=(
            Attempt(
                number=1,
                route="primary",
                started=NOON,
                duration=0.2,
                fault=fault,
                phases=PhaseDurations(dns=0.01, connect=0.02, tls=0.03, headers=0.14),
                connection="new",
                certificate_expiry=NOON + 9999.0,
            ),
            Attempt(
                number=2,
                route="fallback",
                started=NOON,
                duration=0.2,
                connection="reused",
                max_gap=0.2,
                median_gap=0.1,
                output_speed=OutputSpeed(tokens_per_second=40.0, seconds=0.1, is_estimated=True),
                rate_limits=RateLimits(requests=Quota(remaining=1, limit=9, reset_after=6.5), tokens=Quota(limit=7)),
                retirement=Retirement(deprecation=NOON, sunset=NOON + 9.0),
            ),
        ),
        certificate_expiry=NOON + 9999.0,
        usage=Usage(input_tokens=3, output_tokens=5, reasoning_tokens=2),
        output_speed=OutputSpeed(tokens_per_second=40.0, seconds=0.1),
        median_gap=0.1,
        model="b",
        previous_model="a",
        system_fingerprint="fp_1",
        service_tier="default",
        trace_id="0" * 32,
    )
    history.record_run(connection, outcome)
    assert history.recent_runs(connection) == [outcome]


def test_recording_a_run_again_changes_nothing(connection: Connection) -> None:
    """Recording the same run twice keeps the first record."""
    history.record_run(connection, make_outcome(1))
    history.record_run(connection, make_outcome(1, kind=OutcomeKind.FAILED))
    assert history.recent_runs(connection) == [make_outcome(1)]


def test_recent_runs_are_ordered_by_their_end_despite_clock_steps(
    connection: Connection,
) -> None:
    """A backward clock step between two runs does not change their order."""
    for outcome in (make_outcome(1), make_outcome(2, started=NOON - 9999), make_outcome(3)):
        history.record_run(connection, outcome)
    assert ids(history.recent_runs(connection, limit=2)) == ["run-3", "run-2"]


def test_recent_runs_can_be_filtered_by_canary(connection: Connection) -> None:
    """With a canary name, only the runs of that canary are returned."""
    for outcome in (make_outcome(1), make_outcome(2, canary="other"), make_outcome(3)):
        history.record_run(connection, outcome)
    assert ids(history.recent_runs(connection, "chat")) == ["run-3", "run-1"]
    assert ids(history.recent_runs(connection, "nobody")) == []


def test_the_last_answer_of_each_canary(connection: Connection) -> None:
    """The last run that succeeded is returned, in time or not; one that cannot be read is left out."""
    for outcome in (
        make_outcome(1),
        make_outcome(2, kind=OutcomeKind.SLOW),
        make_outcome(3, kind=OutcomeKind.FAILED_OVER),
        make_outcome(4, kind=OutcomeKind.FAILED),
        make_outcome(5, canary="other"),
        make_outcome(6, canary="failed", kind=OutcomeKind.FAILED),
        make_outcome(7, canary="damaged"),
    ):
        history.record_run(connection, outcome)
    connection.execute("UPDATE runs SET outcome = '{}' WHERE canary = 'damaged'")
    for others in FEW, MANY:
        found = history.last_answers(connection, ["chat", "other", "failed", "damaged", *others])
        assert {"chat": "run-2", "other": "run-5"} == {canary: outcome.run_id for canary, outcome in found.items()}


def test_the_last_run_of_each_canary(connection: Connection) -> None:
    """The last run is returned whatever its outcome, unless it was skipped."""
    for outcome in (
        make_outcome(1),
        make_outcome(2, kind=OutcomeKind.FAILED),
        make_outcome(3, kind=OutcomeKind.SKIPPED),
        make_outcome(4, canary="other", kind=OutcomeKind.INTERNAL_ERROR),
        make_outcome(5, canary="skipped", kind=OutcomeKind.SKIPPED),
    ):
        history.record_run(connection, outcome)
    for others in FEW, MANY:
        found = history.last_runs(connection, ["chat", "other", "skipped", *others])
        assert {"chat": "run-2", "other": "run-4"} == {canary: outcome.run_id for canary, outcome in found.items()}


def test_the_last_outcome_of_each_canary(connection: Connection) -> None:
    """The last run is returned, also if it was skipped; one that cannot be read is left out."""
    for outcome in (
        make_outcome(1),
        make_outcome(2, kind=OutcomeKind.SKIPPED),
        make_outcome(3, canary="other", kind=OutcomeKind.FAILED),
        make_outcome(4, canary="damaged"),
    ):
        history.record_run(connection, outcome)
    connection.execute("UPDATE runs SET outcome = '{}' WHERE canary = 'damaged'")
    for others in FEW, MANY:
        found = history.last_outcomes(connection, ["chat", "other", "damaged", *others])
        assert {"chat": "run-2", "other": "run-3"} == {canary: outcome.run_id for canary, outcome in found.items()}
    assert {} == history.last_outcomes(connection, [])


def test_a_run_is_found_by_its_id(connection: Connection) -> None:
    """However many there are after it; a damaged one and an unknown id are not found."""
    for number in range(300):
        history.record_run(connection, make_outcome(number))
    found = history.find_run(connection, "run-3")
    assert found is not None
    assert (NOON + 3, None) == (found.started, history.find_run(connection, "run-300"))
    connection.execute("UPDATE runs SET outcome = '{' WHERE run_id = 'run-4'")
    assert history.find_run(connection, "run-4") is None


def test_the_start_of_a_state_is_found_before_other_outcomes(connection: Connection) -> None:
    """Skipped runs say nothing, other canaries do not count, former names continue, and the limit bounds it."""
    kinds = [OutcomeKind.OK, OutcomeKind.FAILED, OutcomeKind.SKIPPED, OutcomeKind.FAILED, OutcomeKind.FAILED]
    for number, kind in enumerate(kinds):
        history.record_run(connection, make_outcome(number, canary="old" if number < 3 else "new", kind=kind))
    history.record_run(connection, make_outcome(9, canary="other"))
    assert NOON + 3 == history.state_start(connection, ["new"], {"failed"}, 100)
    assert NOON + 1 == history.state_start(connection, ["new", "old"], {"failed"}, 100)
    assert NOON + 4 == history.state_start(connection, ["new"], {"failed"}, 1)
    assert history.state_start(connection, ["new", "old"], {"ok"}, 100) is None
    assert history.state_start(connection, ["none"], {"ok"}, 100) is None


def test_an_unreadable_run_is_omitted(connection: Connection) -> None:
    """A run with an outcome kind of a later version is omitted, and the others are returned."""
    for number in (1, 2):
        history.record_run(connection, make_outcome(number))
    connection.execute("""UPDATE runs SET outcome = '{"run_id": "run-1", "kind": "levitated"}' WHERE id = 1""")
    assert ids(history.recent_runs(connection)) == ["run-2"]


def test_a_lone_surrogate_does_not_lose_the_run(connection: Connection) -> None:
    """A character that UTF-8 cannot encode is replaced, and the run is recorded."""
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
def test_failures_are_kept_four_times_as_long(connection: Connection, kind: OutcomeKind, *, kept: bool) -> None:
    """Failed runs are pruned after four times the retention of the others."""
    history.record_run(connection, make_outcome(0, kind=kind))
    assert history.prune_runs(connection, NOON + 100, retention=100) == 0
    assert history.prune_runs(connection, NOON + 101, retention=100) == (0 if kept else 1)
    assert history.prune_runs(connection, NOON + 400, retention=100) == 0
    assert history.prune_runs(connection, NOON + 401, retention=100) == (1 if kept else 0)
    assert history.recent_runs(connection) == []


def test_the_number_of_failures_and_of_other_runs_is_bounded(connection: Connection) -> None:
    """Runs with a start time in the future do not age, so the oldest by order are pruned."""
    for number in range(5):
        history.record_run(connection, make_outcome(number, started=NOON * 2))
        history.record_run(connection, make_outcome(number + 10, started=NOON * 2, kind=OutcomeKind.FAILED))
    assert history.prune_runs(connection, NOON, retention=100, limit=2) == 6
    assert ids(history.recent_runs(connection)) == ["run-14", "run-4", "run-13", "run-3"]


def test_each_pruning_deletes_a_bounded_number(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many old runs are deleted in several calls, so that queued writes do not wait long."""
    monkeypatch.setattr(history, "MAX_PRUNED_PER_CALL", 2)
    for number in range(5):
        history.record_run(connection, make_outcome(number))
    assert [history.prune_runs(connection, NOON + 9999, retention=1) for _ in range(4)] == [2, 2, 1, 0]


async def test_the_writer_prunes_every_ten_minutes(store: Store, clock: FrozenClock) -> None:
    """The writer prunes every ten minutes of the monotonic clock, after a write."""
    await store.commit([], [make_outcome(0)])
    await store.probe()  # completes after the pruning that follows the commit
    clock.wall_time += 99_999  # the run is old enough, but no pruning is due
    await store.commit([], [make_outcome(100_000)])
    await store.probe()
    assert ids(await store.read(history.recent_runs)) == ["run-100000", "run-0"]
    clock.monotonic_time += 600
    await store.commit([], [make_outcome(100_001)])  # the due pruning follows this commit
    await store.probe()
    assert ids(await store.read(history.recent_runs)) == ["run-100001", "run-100000"]


async def test_a_new_process_prunes_after_its_first_write(store: Store) -> None:
    """A daemon that restarts every five minutes still prunes old runs."""
    await store.commit([], [make_outcome(0, started=NOON - 99_999)])
    await store.probe()
    assert await store.read(history.recent_runs) == []
