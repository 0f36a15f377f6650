"""Lease users that fail, hang or are cancelled: they delay no other, and no renewal."""

import logging

import pytest

from streamcanary.model.replicas import RESOURCES
from support.replicas import TTL, Cluster, RecordingUser, SimulatedReplica, check_owned_once


def two_users(cluster: Cluster, **options: float) -> tuple[SimulatedReplica, RecordingUser]:
    """Return a replica that is not started, with a second user."""
    replica = SimulatedReplica(cluster, "a", **options)
    cluster.replicas.append(replica)
    second = RecordingUser(replica.machine)
    replica.coordinator.add_user(second)
    return replica, second


def test_all_users_are_called(cluster: Cluster) -> None:
    """Each gets all resources, and ignores those of others."""
    replica, second = two_users(cluster)
    replica.start()
    cluster.world.run_for(3)
    replica.stop()
    cluster.world.run_for(3)

    assert ["gained", "releasing"] == replica.user.names() == second.names()
    assert set(RESOURCES) == set(second.calls[0][2])


def test_a_slow_user_delays_no_renewal(cluster: Cluster) -> None:
    """Work may take longer to begin or to end than a lease lasts."""
    (one,) = cluster.start("a", user_timeout=4 * TTL)
    (two,) = cluster.start("b", user_timeout=4 * TTL)
    two.user.seconds_to_finish = one.user.seconds_to_finish = 2 * TTL
    one.user.seconds_to_begin = 2 * TTL
    (three,) = cluster.start("c", user_timeout=4 * TTL)
    cluster.world.run_for(5 * TTL)

    check_owned_once(one, two, three)
    assert "lost" not in one.user.names() + two.user.names() + three.user.names()


def test_a_user_that_does_not_finish_in_time_is_stopped(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Its method ``lost`` is called, and its resources are released."""
    (one,) = cluster.start("a", user_timeout=5)
    one.user.seconds_to_finish = 1000
    cluster.start("b")
    cluster.world.run_for(10)

    check_owned_once(*cluster.replicas)
    assert ["gained", "releasing", "lost"] == one.user.names()
    assert "lease user too slow" in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("ignores_cancellation", [False, True])
def test_a_hand_over_takes_a_limited_time(cluster: Cluster, ignores_cancellation: bool) -> None:
    """Whatever a user does: even one that ignores its cancellation."""
    (one,) = cluster.start("a", user_timeout=5)
    one.user.seconds_to_finish, one.user.ignores_cancellation = 1000, ignores_cancellation
    stopped = one.stop()

    assert 8 > cluster.run_until(stopped.done)
    assert {} == cluster.database.sessions


def test_what_a_user_cannot_begin_is_lost_and_taken_again_later(cluster: Cluster) -> None:
    """The other users stop, too; after the time of a lease it is tried again."""
    replica, second = two_users(cluster)
    replica.user.failure = RuntimeError("broken")
    replica.start()
    cluster.world.run_for(5)
    assert ["gained", "lost"] == replica.user.names() == second.names()
    assert frozenset() == replica.owned

    replica.user.failure = None
    cluster.world.run_for(TTL)
    assert ["gained", "lost", "gained"] == second.names()
    check_owned_once(replica)


def test_what_a_user_is_too_slow_to_begin_is_lost(cluster: Cluster) -> None:
    """As if it had failed."""
    replica, second = two_users(cluster, user_timeout=5)
    replica.user.seconds_to_begin = 1000
    replica.start()
    cluster.world.run_for(10)

    assert ["gained", "lost"] == replica.user.names() == second.names()


def test_a_failing_user_stops_no_other(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """All learn of a loss, and the failure is logged without ending the renewals."""
    replica, second = two_users(cluster)
    replica.start()
    cluster.world.run_for(3)
    replica.user.failure = RuntimeError("broken")
    replica.connection.is_cut = True
    cluster.world.run_for(TTL + 1)
    replica.connection.is_cut = False
    replica.user.failure = None
    cluster.world.run_for(5)

    assert ["gained", "lost", "gained"] == second.names()
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [("lease user failed", "lost")] == [(record.getMessage(), vars(record)["call"]) for record in errors]


def test_a_loss_cancels_what_begins(cluster: Cluster) -> None:
    """Nothing begins under a lease that is lost meanwhile."""
    replica, second = two_users(cluster, user_timeout=100)
    replica.user.seconds_to_begin = 50
    replica.start()
    cluster.world.run_for(3)
    replica.connection.is_cut = True
    cluster.world.run_for(60)

    assert ["gained", "lost"] == replica.user.names() == second.names()
    assert set() == replica.user.working


def test_a_hand_over_while_work_begins_cancels_that(cluster: Cluster) -> None:
    """The users finish what has begun, and the successor gets everything."""
    replica, _ = two_users(cluster)
    replica.user.seconds_to_begin = 8
    replica.start()
    cluster.world.run_for(3)
    stopped = replica.stop()

    assert 3 > cluster.run_until(stopped.done)
    assert ["gained", "releasing"] == replica.user.names()
    cluster.start("b")
    check_owned_once(cluster.replicas[-1])
