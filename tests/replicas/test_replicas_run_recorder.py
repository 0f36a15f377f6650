"""The recorder of runs: each run is recorded once, or dropped with the lease of its shard."""

import asyncio
import logging

import pytest

from streamcanary.model import names
from streamcanary.model.outcome import Outcome
from streamcanary.model.replicas import SHARD_RESOURCES
from streamcanary.model.spend import Spend
from streamcanary.replicas.run_recorder import MAX_WAITING, RunRecorder
from streamcanary.store.errors import StoreRejected
from support.alerting.builders import good
from support.memory_lease_store import MemoryLeaseStore
from support.replicas import TTL, Cluster, SimulatedReplica
from support.telemetry.in_memory import RecordedTelemetry

SHARD, OTHER_SHARD = SHARD_RESOURCES[:2]
DAY = "2027-01-15"


class RecordingReplica:
    """A replica that owns everything, with a recorder."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.database = cluster.database
        (self.replica,) = cluster.start("a")
        self.spend = {DAY: Spend(requests=1)}
        store = MemoryLeaseStore(self.replica.connection)
        self.recorder = RunRecorder(store, self.replica.coordinator, lambda: self.spend)
        self.replica.user.lost = self.recorder.lost  # type: ignore[method-assign, assignment]
        self.replica.machine.start(self.recorder.__aenter__())
        cluster.world.run_for(0.001)

    def add(self, *outcomes: Outcome, shard: str = SHARD) -> list[bool]:
        """Record runs, as a run that ends does."""

        async def add_all() -> list[bool]:
            return [self.recorder.add(outcome, shard) for outcome in outcomes]

        return self.cluster.world.run(self.replica.machine, add_all())


@pytest.fixture
def recording(cluster: Cluster) -> RecordingReplica:
    """Return a replica with a recorder."""
    return RecordingReplica(cluster)


def runs(*numbers: int) -> list[Outcome]:
    """Build successful runs."""
    return [good(number) for number in numbers]


def recorded_ids(replica: RecordingReplica) -> list[str]:
    """Return the ids of the recorded runs."""
    return list(replica.database.runs)


def take_over(recording: RecordingReplica, cluster: Cluster) -> SimulatedReplica:
    """Let another replica own everything while the first is cut off."""
    recording.replica.connection.is_cut = True
    cluster.start("b")
    cluster.world.run_for(TTL + 3)
    return cluster.replicas[-1]


def test_runs_are_committed_together_within_a_quarter_of_a_second(recording: RecordingReplica) -> None:
    """Many runs are one commit, each an input of alerting."""
    recording.add(*runs(*range(20)))
    recording.add(*runs(20), shard=OTHER_SHARD)
    recording.cluster.world.run_for(0.3)

    assert [f"run-{number}" for number in range(21)] == recorded_ids(recording)
    assert 21 == len(recording.database.alerts.inputs)
    assert 1 == recording.replica.connection.requests["commit_runs"]
    assert 0 == recording.recorder.waiting


def test_the_spend_of_the_session_is_committed_with_the_runs(recording: RecordingReplica) -> None:
    """It is set, not added: a repeated commit counts once."""
    recording.add(*runs(1))
    recording.cluster.world.run_for(1)
    recording.spend = {DAY: Spend(requests=2)}
    recording.add(*runs(2))
    recording.cluster.world.run_for(1)

    session = recording.replica.coordinator.session
    assert {session: {DAY: Spend(requests=2)}} == recording.database.session_spend


def test_a_run_is_recorded_once_whatever_is_answered(recording: RecordingReplica) -> None:
    """A commit whose answer is lost is repeated, and changes nothing then."""
    recording.replica.connection.lost_answers = 3
    recording.add(*runs(1, 2))
    recording.cluster.world.run_for(10)

    assert ["run-1", "run-2"] == recorded_ids(recording)
    assert 2 == len(recording.database.alerts.inputs)
    assert 0 == recording.recorder.waiting


def test_runs_wait_while_the_database_fails(recording: RecordingReplica) -> None:
    """They are recorded in their order as soon as it answers, if the lease is still valid."""
    recording.replica.connection.is_cut = True
    recording.add(*runs(1))
    recording.cluster.world.run_for(5)
    recording.add(*runs(2))
    recording.cluster.world.run_for(5)
    assert [] == recorded_ids(recording)

    recording.replica.connection.is_cut = False
    recording.cluster.world.run_for(3)
    assert ["run-1", "run-2"] == recorded_ids(recording)


def test_runs_are_dropped_with_their_lease(recording: RecordingReplica, cluster: Cluster) -> None:
    """A successor may have run their canaries: what was not recorded in time never is."""
    recording.replica.connection.is_cut = True
    recording.add(*runs(1, 2))
    cluster.world.run_for(TTL + 1)
    assert 0 == recording.recorder.waiting

    recording.replica.connection.is_cut = False
    cluster.world.run_for(10)
    assert [] == recorded_ids(recording)


def test_a_run_that_ends_without_a_lease_is_dropped(recording: RecordingReplica, cluster: Cluster) -> None:
    """There is nobody who may record it."""
    take_over(recording, cluster)

    assert [False] == recording.add(*runs(1))
    assert [] == recorded_ids(recording)


def test_a_commit_of_a_fenced_session_ends_the_session(recording: RecordingReplica, cluster: Cluster) -> None:
    """The store refuses it, and the replica knows at once that it owns nothing."""
    session = recording.replica.coordinator.session
    assert session is not None
    recording.add(*runs(1))
    cluster.database.sessions[session].expires = 0.0
    cluster.database.fence()
    cluster.world.run_for(0.5)

    assert [] == recorded_ids(recording)
    assert 0 == recording.recorder.waiting
    assert recording.replica.coordinator.session != session


def test_runs_of_a_shard_with_another_owner_are_refused_alone(recording: RecordingReplica, cluster: Cluster) -> None:
    """The runs of the other shards are recorded, and the replica reads at once what it still owns."""
    other = cluster.database.join("b", generation=0, config="", address="", ttl=TTL).session
    cluster.database.release(recording.replica.coordinator.session or 0, [SHARD])
    cluster.database.acquire(other, [SHARD])
    recording.add(*runs(1))
    recording.add(*runs(2), shard=OTHER_SHARD)
    cluster.world.run_for(0.5)

    assert ["run-2"] == recorded_ids(recording)
    assert 0 == recording.recorder.waiting
    assert SHARD not in recording.replica.owned


@pytest.mark.parametrize("error", [StoreRejected("out of range"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "bad")])
def test_a_run_that_the_database_rejects_is_dropped_alone(
    recording: RecordingReplica, recorded: RecordedTelemetry, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """It delays no other run, is logged and counted; the recorder goes on."""
    before = recorded.value(names.RUNS_DROPPED.name, reason="rejected")
    recording.cluster.database.rejections = {"run-3": error}
    recording.add(*runs(*range(7)))
    recording.cluster.world.run_for(1)
    recording.add(*runs(7))
    recording.cluster.world.run_for(1)

    assert ["run-0", "run-1", "run-2", "run-4", "run-5", "run-6", "run-7"] == recorded_ids(recording)
    assert 0 == recording.recorder.waiting
    assert 1 == recorded.value(names.RUNS_DROPPED.name, reason="rejected") - before
    assert ["run-3"] == [record.run_id for record in caplog.records if record.message == "run not recorded"]  # type: ignore[attr-defined]


def test_too_many_runs_are_dropped_and_counted(recording: RecordingReplica, recorded: RecordedTelemetry) -> None:
    """Memory is bounded, whatever the database does."""
    recording.replica.connection.is_cut = True
    before = recorded.value(names.RUNS_DROPPED.name, reason="full")
    added = recording.add(*runs(*range(MAX_WAITING + 7)))

    assert MAX_WAITING == sum(added)
    assert 7 == recorded.value(names.RUNS_DROPPED.name, reason="full") - before


def test_a_drain_commits_everything(recording: RecordingReplica) -> None:
    """At a hand-over nothing waits any more."""
    recording.add(*runs(1, 2, 3))

    assert recording.cluster.world.run(recording.replica.machine, recording.recorder.drain(5))
    assert ["run-1", "run-2", "run-3"] == recorded_ids(recording)


def test_a_drain_commits_the_spend(recording: RecordingReplica) -> None:
    """Also if no run waits: the last requests may have been of runs that were dropped."""
    assert recording.cluster.world.run(recording.replica.machine, recording.recorder.drain(5))

    assert {DAY: Spend(requests=1)} == recording.database.session_spend[recording.replica.coordinator.session or 0]


def test_a_drain_takes_a_limited_time(recording: RecordingReplica) -> None:
    """Without the database it ends, and says that runs are left."""
    recording.replica.connection.hangs = True
    recording.add(*runs(1))
    start = recording.cluster.world.now

    assert not recording.cluster.world.run(recording.replica.machine, recording.recorder.drain(5))
    assert 5.0 == pytest.approx(recording.cluster.world.now - start)


def test_a_failure_is_logged_once(recording: RecordingReplica, caplog: pytest.LogCaptureFixture) -> None:
    """And not for each attempt."""
    caplog.set_level(logging.INFO)
    recording.replica.connection.is_cut = True
    recording.add(*runs(1))
    recording.cluster.world.run_for(10)

    assert 1 == [record.getMessage() for record in caplog.records].count("runs not recorded yet")


async def test_the_coordinator_has_what_the_recorder_uses() -> None:
    """A recorder starts and stops without runs."""

    class NoLeases:
        session = None

        def epoch(self, resource: str) -> int | None:
            return None

        def report_session_lost(self, session: int) -> None: ...

        def report_refused(self) -> None: ...

    async with RunRecorder(None, NoLeases()) as recorder:  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert 0 == recorder.waiting
