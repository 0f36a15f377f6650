"""An unreachable database: leases end at their deadline, and not before; afterwards the replica joins again."""

import logging

import pytest

from streamcanary.model.replicas import RESOURCES
from support.replicas import TTL, Cluster, check_owned_once


def test_leases_last_until_their_deadline(cluster: Cluster) -> None:
    """While the database does not answer, a replica works on until its leases expire, and then stops at once."""
    (one,) = cluster.start("a")
    one.connection.is_cut = True
    cut = cluster.world.now
    cluster.world.run_for(TTL - 2)
    assert len(RESOURCES) == len(one.owned)

    cluster.world.run_for(2.5)
    (lost,) = one.user.times("lost")
    assert TTL - 1.2 < lost - cut <= TTL
    assert frozenset() == one.owned
    assert "the database cannot be reached" == one.coordinator.status().problem


def test_leases_end_while_a_renewal_hangs(cluster: Cluster) -> None:
    """The deadline needs no answer: it counts from before the last renewal was sent."""
    (one,) = cluster.start("a")
    one.connection.hangs = True
    hung = cluster.world.now
    cluster.world.run_for(TTL + 1)

    (lost,) = one.user.times("lost")
    assert TTL - 1.2 < lost - hung <= TTL
    assert frozenset() == one.owned


def test_a_replica_joins_again_when_the_database_answers(cluster: Cluster) -> None:
    """It takes everything again, as another session with higher epochs."""
    (one,) = cluster.start("a")
    session = one.coordinator.session
    one.connection.is_cut = True
    cluster.world.run_for(120)
    one.connection.is_cut = False

    assert 3 > cluster.run_until(lambda: len(one.user.working) == len(RESOURCES))
    assert one.coordinator.session != session
    assert {2} == {one.coordinator.epoch(resource) for resource in RESOURCES}
    assert "" == one.coordinator.status().problem


def test_a_short_failure_costs_nothing(cluster: Cluster) -> None:
    """Renewals are repeated until the deadline."""
    replicas = cluster.start("a", "b")
    for replica in replicas:
        replica.connection.is_cut = True
    cluster.world.run_for(10)
    for replica in replicas:
        replica.connection.is_cut = False
    cluster.world.run_for(10)

    check_owned_once(*replicas)
    assert "lost" not in replicas[0].user.names() + replicas[1].user.names()


def test_a_failure_is_logged_once(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """A minute without the database is two lines, and not one for each attempt."""
    (one,) = cluster.start("a")
    caplog.set_level(logging.INFO)
    one.connection.is_cut = True
    cluster.world.run_for(60)
    one.connection.is_cut = False
    cluster.world.run_for(10)

    events = [record.getMessage() for record in caplog.records]
    assert 1 == events.count("lease renewal failed")
    assert 1 == events.count("leases lost")
    assert 1 == events.count("leases are renewed again")


@pytest.mark.parametrize("lost_answers", range(1, 8))
def test_requests_whose_answer_is_lost_are_repeated(cluster: Cluster, lost_answers: int) -> None:
    """Whichever requests were performed without an answer, everything has one owner in the end."""
    replicas = cluster.start("a")
    (joining,) = cluster.start("b")
    joining.connection.lost_answers = lost_answers
    replicas[0].connection.lost_answers = lost_answers
    replicas += [joining, *cluster.start("c")]
    cluster.world.run_for(2 * TTL)

    check_owned_once(*replicas)


def test_a_database_that_fails_at_the_start_is_joined_later(cluster: Cluster) -> None:
    """A replica starts without its database, and owns nothing until it answers."""
    (one,) = cluster.start("a")
    one.stop()
    cluster.world.run_for(3)
    (late,) = cluster.start("b")
    late.connection.is_cut = True
    cluster.world.run_for(60)
    assert frozenset() == late.owned
    assert "the database cannot be reached" == late.coordinator.status().problem

    late.connection.is_cut = False
    cluster.world.run_for(5)
    check_owned_once(late)


def test_a_hand_over_without_the_database_takes_a_limited_time(cluster: Cluster) -> None:
    """The users finish, and successors wait for the end of the lease."""
    leaving, other = cluster.start("a", "b")
    leaving.connection.hangs = True
    stopped = leaving.stop()

    assert 5 > cluster.run_until(stopped.done)
    assert "releasing" == leaving.user.names()[-1]
    cluster.world.run_for(TTL + 2)
    check_owned_once(other)


def test_a_replica_stops_before_its_session_expires(cluster: Cluster) -> None:
    """However late answers are: its deadline counts from when a renewal was sent, that of the database is later."""
    (one,) = cluster.start("a")
    one.connection.latency, one.connection.slow_answers = 3.0, 1.0
    cluster.world.run_for(20)
    assert one.owned

    one.connection.is_cut = True
    while (session := one.coordinator.session) is not None:
        assert cluster.database.sessions[session].expires > cluster.database.clock()
        cluster.world.run_for(0.1)
