"""The status and the metrics of replicas."""

from typing import Any

import pytest

from streamcanary.model import names
from streamcanary.model.replicas import ALERTS, SHARDS
from streamcanary.model.status.replicas import ReplicaRow
from support.replicas import TTL, Cluster, owner_of_alerts
from support.simulated_time import START
from support.telemetry.in_memory import RecordedTelemetry


def test_the_status_tells_who_owns_what(cluster: Cluster) -> None:
    """Each replica shows all that are alive, the oldest first, and itself."""
    a, b = cluster.start("a", "b", generation=2, config="c", address="10.0.0.1:9465")
    status = b.coordinator.status()
    rows = [
        ReplicaRow(
            name=replica.name,
            session=session,
            generation=2,
            config="c",
            joined=pytest.approx(START, abs=0.1),
            address="10.0.0.1:9465",
            shards=len(replica.owned - {ALERTS}),
            owns_alerts=ALERTS in replica.owned,
        )
        for session, replica in enumerate((a, b), 1)
    ]

    assert rows == list(status.replicas)
    assert ("b", 2, len(b.owned - {ALERTS}), ALERTS in b.owned, 0) == (
        status.name,
        status.session,
        status.shards,
        status.owns_alerts,
        status.shards_without_owner,
    )
    assert owner_of_alerts(a, b).name == status.alerts_owner
    assert TTL - 1.2 < status.valid_for <= TTL
    assert ("", "", False) == (status.standby, status.problem, status.draining)


def test_the_status_tells_when_it_was_read(cluster: Cluster) -> None:
    """What is shown of the others is as old as the last answer of the database."""
    [replica] = cluster.start("a")
    replica.connection.is_cut = True
    cluster.world.run_for(60)
    assert pytest.approx(START + 3, abs=1.1) == replica.coordinator.status().replicas_as_of


def test_shards_without_an_owner_are_counted(cluster: Cluster) -> None:
    """While the lease of a crashed replica lasts, it is still its owner; then others take them."""
    crashed, other = cluster.start("a", "b")
    crashed.kill()
    cluster.world.run_for(5)
    assert 0 == other.coordinator.status().shards_without_owner

    other.user.failure = RuntimeError("broken")
    cluster.database.release(2, [f"shard-{number:03}" for number in range(10)])
    cluster.world.run_for(0.9)
    assert SHARDS - 10 <= SHARDS - other.coordinator.status().shards_without_owner


def test_a_replica_without_a_session_owns_nothing(cluster: Cluster) -> None:
    """And says why."""
    (one,) = cluster.start("a")
    one.connection.is_cut = True
    cluster.world.run_for(TTL + 1)
    status = one.coordinator.status()

    assert (None, 0.0, 0, False) == (status.session, status.valid_for, status.shards, status.owns_alerts)
    assert "the database cannot be reached" == status.problem


def test_takeovers_are_counted_by_reason(cluster: Cluster, recorded: RecordedTelemetry) -> None:
    """New resources, those that were released, and those whose owner has crashed."""

    def takeovers() -> dict[str, float]:
        reasons = ("free", "released", "expired")
        return {reason: recorded.value(names.REPLICA_TAKEOVERS.name, reason=reason) for reason in reasons}

    def since(before: dict[str, float]) -> dict[str, float]:
        return {reason: count - before[reason] for reason, count in takeovers().items() if count != before[reason]}

    before = takeovers()
    (one,) = cluster.start("a")
    assert {"free": SHARDS + 1} == since(before)

    before = takeovers()
    (two,) = cluster.start("b")
    assert {"released": len(two.owned)} == since(before)

    before = takeovers()
    crashed = len(one.owned)
    one.kill()
    cluster.world.run_for(TTL + 3)
    assert {"expired": crashed} == since(before)


def test_lost_leases_are_counted_by_reason(cluster: Cluster, recorded: RecordedTelemetry) -> None:
    """Not renewed in time, or refused by the database."""

    def lost(reason: str) -> Any:
        return recorded.value(names.REPLICA_LEASES_LOST.name, reason=reason)

    expired, fenced = lost("expired"), lost("fenced")
    (one,) = cluster.start("a")
    one.connection.is_cut = True
    cluster.world.run_for(TTL + 1)
    assert SHARDS + 1 == lost("expired") - expired

    one.connection.is_cut = False
    cluster.world.run_for(5)
    cluster.database.leave(one.coordinator.session or 0)
    cluster.world.run_for(2)
    assert SHARDS + 1 == lost("fenced") - fenced


def test_owned_resources_and_renewals_are_measured(cluster: Cluster, recorded: RecordedTelemetry) -> None:
    """The gauges follow what this replica owns; at its end they are 0."""
    before = recorded.value(names.REPLICA_RENEWAL_DURATION.name)
    (one,) = cluster.start("a")
    assert SHARDS == recorded.value(names.REPLICA_SHARDS.name)
    assert 1 == recorded.value(names.REPLICA_ALERTS_OWNER.name)
    assert 2 <= recorded.value(names.REPLICA_RENEWAL_DURATION.name) - before <= 5

    one.stop()
    cluster.world.run_for(3)
    assert 0 == recorded.value(names.REPLICA_SHARDS.name)
    assert 0 == recorded.value(names.REPLICA_ALERTS_OWNER.name)
