"""The runs of other replicas are read from the database that all of them record to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamcanary.canary.status import recorded_runs as module
from streamcanary.canary.status.recorded_runs import RecordedRunFollower
from streamcanary.canary.status.statuses import CanaryStatuses
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.model.status.canary_status import CanaryState
from streamcanary.store.database import Store
from streamcanary.store.errors import StoreFailing
from support.clock import ManualClock
from support.store.builders import NOON, make_outcome, open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = open_store(tmp_path / "canary.db", keep=1e6)
    yield store
    await store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall=NOON)


class Follower(RecordedRunFollower):
    """A follower that keeps what it reports."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.found: list[str] = []
        super().__init__(store, lambda outcome: self.found.append(outcome.run_id), clock)


@pytest.fixture
async def follower(store: Store, clock: ManualClock) -> Follower:
    await store.commit([], [make_outcome(0)])
    follower = Follower(store, clock)
    await follower.read()
    return follower


def _ids(*numbers: int) -> list[str]:
    return [make_outcome(number).run_id for number in numbers]


async def test_each_recorded_run_is_reported_once(store: Store, follower: Follower) -> None:
    """Runs that are recorded after the start are reported in their order, although rows are read again."""
    await store.commit([], [make_outcome(1), make_outcome(2)])
    await follower.read()
    await store.commit([], [make_outcome(3)])
    await follower.read()
    await follower.read()
    assert _ids(1, 2, 3) == follower.found


async def test_the_own_runs_are_not_reported(store: Store, follower: Follower) -> None:
    """A run that this process has made is known when it is recorded."""
    follower.skip(make_outcome(1))
    await store.commit([], [make_outcome(1), make_outcome(2)])
    await follower.read()
    assert _ids(2) == follower.found


async def test_a_row_that_becomes_visible_late_is_reported(
    store: Store, follower: Follower, clock: ManualClock
) -> None:
    """A transaction with a lower id may end after one with a higher id."""
    await store.commit([], [make_outcome(number) for number in range(1, 6)])
    late = make_outcome(3)
    await store.write(lambda connection: connection.execute("DELETE FROM runs WHERE run_id = ?", (late.run_id,)))
    await follower.read()
    before = list(follower.found)
    clock.advance(4)
    await store.commit([], [late])
    await store.write(lambda connection: connection.execute("UPDATE runs SET id = 4 WHERE run_id = ?", (late.run_id,)))
    await follower.read()
    assert (_ids(1, 2, 4, 5), _ids(1, 2, 4, 5, 3)) == (before, follower.found)


async def test_after_a_gap_the_last_runs_are_reported(
    store: Store, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more runs than one read has, those in the middle are left out."""
    monkeypatch.setattr(module, "_MAX_ROWS", 10)
    await store.commit([], [make_outcome(number) for number in range(1, 101)])
    await follower.read()
    assert _ids(*range(1, 11), *range(91, 101)) == follower.found


async def test_known_runs_are_forgotten(store: Store, follower: Follower, clock: ManualClock) -> None:
    """The memory of runs is bounded in time."""
    for number in range(1, 200):
        await store.commit([], [make_outcome(number)])
        clock.advance(1)
        await follower.read()
    assert 199 == len(follower.found)
    assert len(follower._known) < 70


async def test_a_read_that_fails_reports_the_rest_later(
    store: Store, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be read is reported by a later read."""

    async def fail(*_: object) -> None:
        raise StoreFailing("no connection")

    await store.commit([], [make_outcome(1)])
    with monkeypatch.context() as patch:
        patch.setattr(store, "new_runs", fail)
        with pytest.raises(StoreFailing):
            await follower.read()
    await follower.read()
    assert _ids(1) == follower.found


def _run(number: int, started: float, kind: OutcomeKind) -> Outcome:
    return make_outcome(number, canary="chat", started=started, kind=kind)


def test_a_run_that_is_read_late_does_not_change_the_state(clock: ManualClock) -> None:
    """After a takeover, the last run of the former owner may be read after the first one of the new owner."""
    canary = Canary(name="chat", target="openai", provider="openai", interval=30.0, timeout=10.0)
    statuses = CanaryStatuses([canary], instance="test", clock=clock)
    clock.advance(100)
    statuses.observe(_run(2, NOON + 60, OutcomeKind.OK))
    statuses.observe(_run(1, NOON + 30, OutcomeKind.FAILED), is_recorded=True)
    statuses.observe(_run(1, NOON + 30, OutcomeKind.FAILED), is_recorded=True)
    status = statuses.find("chat")
    assert status is not None and status.hour is not None
    assert (CanaryState.OK, 2, 1) == (status.state, status.hour.runs, status.hour.failed)
    assert ["failed", "ok"] == [run.outcome for run in status.recent_runs]


def test_a_run_of_another_replica_is_a_change(clock: ManualClock) -> None:
    """The stream of events and live pages see runs of all replicas, each once."""
    canary = Canary(name="chat", target="openai", provider="openai", interval=30.0, timeout=10.0)
    statuses = CanaryStatuses([canary], instance="test", clock=clock)
    before = statuses.revision
    statuses.observe(_run(1, NOON, OutcomeKind.FAILED), is_recorded=True)
    first, changed = statuses.revision, statuses.changed_since(before)
    statuses.observe(_run(1, NOON, OutcomeKind.FAILED), is_recorded=True)
    assert (["chat"], ()) == ([status.name for status in changed], statuses.changed_since(first))
