"""Replicas with different configurations: one is current, the others stand by and say why."""

import logging

import pytest

from streamcanary.model import names
from support.replicas import Cluster, check_owned_once
from support.telemetry.in_memory import RecordedTelemetry

OLD, NEW = "a" * 64, "b" * 64


def test_a_newer_generation_takes_everything(cluster: Cluster) -> None:
    """The older replica finishes its work, releases everything and stands by."""
    (old,) = cluster.start("a", generation=1, config=OLD)
    (new,) = cluster.start("b", generation=2, config=NEW)

    check_owned_once(new)
    assert ["gained", "releasing"] == old.user.names()
    assert (
        "its configuration has generation 1, and that of replica 'b' has 2; load that one, or set a higher "
        "store.generation" == old.coordinator.status().standby == new.coordinator.status().replicas[0].standby
    )


def test_another_configuration_of_the_same_generation_stands_by(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once, and takes nothing."""
    (first,) = cluster.start("a", config=OLD)
    (second,) = cluster.start("b", config=NEW)
    cluster.world.run_for(60)

    check_owned_once(first)
    assert [] == second.user.names()
    (line,) = [record for record in caplog.records if record.getMessage() == "replica stands by"]
    assert logging.WARNING == line.levelno
    assert "both have generation 0" in line.reason  # type: ignore[attr-defined]


def test_a_reload_announces_the_new_configuration_at_once(cluster: Cluster) -> None:
    """A replica that has the current one after a reload gets its part."""
    first, second = cluster.start("a", "b", generation=1, config=OLD)
    second.machine.loop.call_soon(second.coordinator.set_config, 2, NEW)
    second.machine.wake()
    cluster.world.run_for(3)
    check_owned_once(second)

    first.machine.loop.call_soon(first.coordinator.set_config, 2, NEW)
    first.machine.wake()
    cluster.world.run_for(3)
    check_owned_once(first, second)
    assert "" == first.coordinator.status().standby


def test_a_rolling_update_hands_over_to_the_new_configuration(cluster: Cluster) -> None:
    """With a generation, the first new replica takes over; without one, the last old one hands over as it leaves."""
    old = cluster.start("a", "b", config=OLD)
    new = []
    for name, leaving in zip("cd", old, strict=True):
        new += cluster.start(name, config=NEW)
        leaving.stop()
        cluster.world.run_for(3)
        check_owned_once(*([old[1]] if leaving is old[0] else new))


def test_a_replica_with_the_name_of_another_takes_over_from_it(cluster: Cluster) -> None:
    """Two processes with one name are a mistake that costs nothing: the first stands by, and says why."""
    (first,) = cluster.start("a")
    (second,) = cluster.start("a")

    check_owned_once(second)
    assert (
        "another replica has joined later with the name 'a'; set store.replica to a name that no other replica has"
        == first.coordinator.status().standby
    )


def test_standing_by_is_a_metric(cluster: Cluster, recorded: RecordedTelemetry) -> None:
    """Somebody can be alerted that a replica is of no use."""
    cluster.start("a", config=OLD)
    assert 0 == recorded.value(names.REPLICA_STANDBY.name)

    cluster.database.join("b", generation=1, config=NEW, address="", ttl=10.0)
    cluster.world.run_for(3)
    assert 1 == recorded.value(names.REPLICA_STANDBY.name)

    cluster.world.run_for(12)
    assert 0 == recorded.value(names.REPLICA_STANDBY.name)
