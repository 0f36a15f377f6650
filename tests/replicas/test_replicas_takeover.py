"""Takeover: after a hand-over within a second or two, after a crash when the lease has expired; never two owners."""

from streamcanary.model.replicas import ALERTS, RESOURCES
from support.replicas import TTL, Cluster, check_owned_once, owner_of_alerts


def test_a_single_replica_owns_everything(cluster: Cluster) -> None:
    """It takes all resources when it has joined."""
    (one,) = cluster.start("a")

    check_owned_once(one)
    assert ["gained"] == one.user.names()
    assert {1} == {one.coordinator.epoch(resource) for resource in RESOURCES}


def test_three_replicas_share_the_resources(cluster: Cluster) -> None:
    """Each has about a third, and one of them the alerts."""
    replicas = cluster.start("a", "b", "c")

    check_owned_once(*replicas)
    assert all(120 < len(replica.owned) < 220 for replica in replicas)


def test_a_replica_that_joins_gets_its_part_within_three_seconds(cluster: Cluster) -> None:
    """The others finish the work of its shards, and release them; nothing is lost."""
    replicas = cluster.start("a", "b")
    replicas += cluster.start("c")

    check_owned_once(*replicas)
    assert all("lost" not in replica.user.names() for replica in replicas)
    assert {"gained", "releasing"} == set(replicas[0].user.names())


def test_after_a_hand_over_the_successors_own_everything_within_two_seconds(cluster: Cluster) -> None:
    """A replica that stops releases everything at once, instead of after its lease."""
    leaving, *others = cluster.start("a", "b", "c")
    leaving.stop()

    assert 2.0 > cluster.run_until(lambda: len(RESOURCES) == sum(len(other.owned) for other in others))
    check_owned_once(*others)
    assert "releasing" == leaving.user.names()[-1]
    assert frozenset() == leaving.owned


def test_a_release_is_noticed_soon_by_a_replica_that_waits_for_it(cluster: Cluster) -> None:
    """Replicas that know that another one stops, or that they are to get its shards, ask four times a second."""
    leaving, *others = cluster.start("a", "b", "c")
    leaving.user.seconds_to_finish = 2.0
    stopped = leaving.stop()
    cluster.run_until(stopped.done)
    assert 0.5 > cluster.run_until(lambda: len(RESOURCES) == sum(len(other.owned) for other in others))

    others[0].user.seconds_to_finish = others[1].user.seconds_to_finish = 2.0
    (joining,) = cluster.start("d")
    cluster.run_until(lambda: joining.owned)
    released = max(other.user.times("releasing")[-1] for other in others) + 2.0
    assert 0.5 > cluster.world.now - released


def test_a_replica_that_waits_in_vain_does_not_go_on_to_ask_more_often(cluster: Cluster) -> None:
    """After ten seconds it asks once a second, as the others do."""
    hanging, waiting = cluster.start("a", "b", user_timeout=60)
    hanging.user.seconds_to_finish = 50.0
    hanging.stop()
    requests = waiting.connection.requests
    counts = []
    for seconds in (2, 5, 5, 10):
        before = requests["renew"]
        cluster.world.run_for(seconds)
        counts.append((requests["renew"] - before) / seconds)
    assert True is (3 < counts[1] < 5 and 0.8 < counts[3] < 1.3), counts


def test_a_hand_over_waits_for_its_users(cluster: Cluster) -> None:
    """Nobody takes a shard whose work is not finished, and the session is renewed meanwhile."""
    leaving, other = cluster.start("a", "b", user_timeout=30)
    leaving.user.seconds_to_finish = 20
    leaving.stop()
    cluster.world.run_for(19.5)
    assert leaving.owned and not leaving.owned & other.owned

    cluster.world.run_for(2)
    check_owned_once(other)


def test_after_a_crash_the_lease_expires_first(cluster: Cluster) -> None:
    """Successors take over about a second after the lease has expired."""
    crashed, *others = cluster.start("a", "b", "c")
    crashed.kill()
    seconds = cluster.run_until(lambda: len(RESOURCES) == sum(len(other.owned) for other in others))

    assert TTL - 1.2 < seconds < TTL + 1.5
    check_owned_once(*others)


def test_a_restarted_replica_gets_its_former_shards_when_their_lease_has_expired(cluster: Cluster) -> None:
    """No shard of another replica moves, because the name has the same shards as before."""
    crashed, other = cluster.start("a", "b")
    before, gained = crashed.owned, len(other.user.calls)
    crashed.kill()
    (restarted,) = cluster.start("a")
    cluster.world.run_for(TTL)

    check_owned_once(restarted, other)
    assert before - {ALERTS} == restarted.owned - {ALERTS}
    assert gained == len(other.user.calls) or {frozenset({ALERTS})} == {each[2] for each in other.user.calls[gained:]}


def test_a_paused_replica_owns_nothing_when_it_continues(cluster: Cluster) -> None:
    """Before anything else runs, the leases have expired; it joins as another session, and gets its shards back."""
    paused, other = cluster.start("a", "b")
    session = paused.coordinator.session
    paused.machine.pause()
    cluster.world.run_for(TTL + 2)
    assert sorted(RESOURCES) == sorted(other.owned)
    assert frozenset() == paused.owned  # by the clock alone: nothing has run yet

    paused.machine.resume()
    cluster.world.run_for(0.001)
    assert "lost" == paused.user.names()[-1]

    cluster.world.run_for(5)
    check_owned_once(paused, other)
    assert paused.coordinator.session != session


def test_a_replica_that_is_paused_for_less_than_its_lease_keeps_it(cluster: Cluster) -> None:
    """A short pause costs nothing."""
    paused, other = cluster.start("a", "b")
    paused.machine.pause()
    cluster.world.run_for(TTL - 2)
    paused.machine.resume()
    cluster.world.run_for(2)

    check_owned_once(paused, other)
    assert "lost" not in paused.user.names() + other.user.names()


def test_the_alerts_stay_when_a_replica_joins(cluster: Cluster) -> None:
    """When another replica joins, they do not move: their state would have to be loaded again."""
    replicas = cluster.start("a")
    owner = owner_of_alerts(*replicas)
    for name in "bcdefgh":
        replicas += cluster.start(name)

    check_owned_once(*replicas)
    assert owner is owner_of_alerts(*replicas)


def test_epochs_grow_with_each_owner(cluster: Cluster) -> None:
    """A commit of a former owner and one of its successor are distinguished by it."""
    (first,) = cluster.start("a")
    first.stop()
    cluster.world.run_for(5)
    (second,) = cluster.start("b")

    assert {2} == {second.coordinator.epoch(resource) for resource in RESOURCES}
    assert {None} == {first.coordinator.epoch(resource) for resource in RESOURCES}
