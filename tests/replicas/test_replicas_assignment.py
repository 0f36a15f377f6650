"""Assignment: the same in each replica, balanced, and with few moves."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from streamcanary.model.replicas import ALERTS, RESOURCES, SHARD_RESOURCES, SHARDS, Membership, Ownership, Replica
from streamcanary.replicas.assignment import assign
from support.hypothesis_profile import count_example, examples, report_example_count

__all__ = ["report_example_count"]

NAMES = st.lists(st.text(min_size=1, max_size=20), unique=True, min_size=1, max_size=60)


def a_replica(session: int, name: str = "", **more: object) -> Replica:
    """Build a replica."""
    values: dict[str, object] = {"generation": 0, "config": "a", "joined": float(session), **more}
    return Replica(session=session, name=name or f"replica-{session}", **values)  # type: ignore[arg-type]


def replicas_of(names: list[str]) -> tuple[Replica, ...]:
    """Build a replica of each name."""
    return tuple(a_replica(number, name) for number, name in enumerate(names, 1))


def owners_of(*replicas: Replica, owners: dict[str, int] | None = None) -> dict[str, str]:
    """Return the name of the replica to which each resource is assigned; ``owners`` has sessions by resource."""
    owned = {resource: Ownership(session, 1) for resource, session in (owners or {}).items()}
    names = {replica.session: replica.name for replica in replicas}
    assignment = assign(Membership(replicas=replicas, owners=owned))
    return {resource: names[session] for resource, session in assignment.owners.items()}


@examples(sample=100, fuzz=5_000)
@given(names=NAMES, seed=st.integers())
def test_all_replicas_compute_the_same_assignment(part: int, names: list[str], seed: int) -> None:
    """The order of the replicas does not matter, nor do their sessions: the names decide."""
    count_example()
    replicas = replicas_of(names)
    shuffled = list(replicas)
    Random(seed).shuffle(shuffled)  # noqa: S311 - no secret

    assert set(RESOURCES) == set(owners_of(*replicas))
    assert owners_of(*replicas) == owners_of(*shuffled)


@examples(sample=100, fuzz=5_000)
@given(names=NAMES, joining=st.text(min_size=21, max_size=30))
def test_a_join_moves_shards_to_the_new_replica_only(part: int, names: list[str], joining: str) -> None:
    """No shard moves between the replicas that were there before."""
    count_example()
    before, after = owners_of(*replicas_of(names)), owners_of(*replicas_of([*names, joining]))

    assert {joining} >= {after[shard] for shard in SHARD_RESOURCES if before[shard] != after[shard]}


@examples(sample=100, fuzz=5_000)
@given(names=NAMES.filter(lambda names: len(names) > 1), which=st.integers(0))
def test_a_leave_moves_the_shards_of_that_replica_only(part: int, names: list[str], which: int) -> None:
    """A shard of a replica that stays does not move."""
    count_example()
    leaving = names[which % len(names)]
    before, after = owners_of(*replicas_of(names)), owners_of(*replicas_of([each for each in names if each != leaving]))

    assert {leaving} >= {before[shard] for shard in SHARD_RESOURCES if before[shard] != after[shard]}


@examples(sample=100, fuzz=5_000)
@given(names=NAMES)
def test_shards_are_balanced(part: int, names: list[str]) -> None:
    """No replica has more than six standard deviations over its even share, as if each shard were drawn by lot."""
    count_example()
    owners = owners_of(*replicas_of(names))
    owned = Counter(owners[shard] for shard in SHARD_RESOURCES)
    even = SHARDS / len(names)

    assert max(owned.values()) <= even + 6 * even**0.5


def test_fifty_replicas_have_ten_shards_on_average() -> None:
    """With names of pods, each has some, and none more than two and a half times its share."""
    owned = Counter(owners_of(*replicas_of([f"streamcanary-{number}" for number in range(50)])).values())

    assert 50 == len(owned)
    assert max(owned.values()) <= 25


def test_the_owner_of_alerts_stays() -> None:
    """The alerts do not move to a replica that joins: a successor would have to load their state."""
    replicas = replicas_of(["a", "b", "c", "d"])

    assert ["a", "b", "c", "d"] == [owners_of(*replicas, owners={ALERTS: session})[ALERTS] for session in (1, 2, 3, 4)]


def test_a_draining_replica_gets_nothing() -> None:
    """A replica that is about to leave is assigned nothing, the alerts included."""
    leaving, other = a_replica(1, draining=True), a_replica(2)

    assert {other.name} == set(owners_of(leaving, other, owners={ALERTS: 1}).values())


def test_a_lone_draining_replica_has_no_successor() -> None:
    """Nothing is assigned if no replica may own anything."""
    assert {} == owners_of(a_replica(1, draining=True))


def test_no_replica_has_no_assignment() -> None:
    """An empty membership is valid."""
    assert {} == owners_of()


def test_the_last_session_of_a_name_counts() -> None:
    """After a restart, the former life of a replica is assigned nothing, and is no reason to move shards."""
    former, other, now = a_replica(1, "a"), a_replica(2, "b"), a_replica(3, "a")
    assignment = assign(Membership(replicas=(former, other, now)))

    assert {2, 3} == set(assignment.owners.values())
    assert owners_of(former, other) == owners_of(former, other, now)
    assert (
        "another replica has joined later with the name 'a'; set store.replica to a name that no other replica has"
    ) == assignment.standby[1]


def test_the_highest_generation_is_current() -> None:
    """Replicas with an older configuration stand by, even if they own everything."""
    old, new = a_replica(1, generation=3, config="x" * 64), a_replica(2, generation=4, config="y" * 64)
    assignment = assign(Membership(replicas=(old, new), owners={ALERTS: Ownership(1, 1)}))

    assert {2} == set(assignment.owners.values())
    assert {
        1: "its configuration has generation 3, and that of replica 'replica-2' has 4; load that one, or set a higher "
        "store.generation"
    } == assignment.standby


def test_a_higher_generation_of_the_same_configuration_moves_nothing_more_than_a_new_replica() -> None:
    """A rolling update of the program alone: old replicas keep their shards until they leave."""
    old = (a_replica(1, generation=3, config="x" * 64), a_replica(2, generation=3, config="x" * 64))
    new = a_replica(3, generation=4, config="x" * 64)
    assignment = assign(Membership(replicas=(*old, new), owners={ALERTS: Ownership(1, 1)}))

    assert {} == assignment.standby
    assert {1, 2, 3} == set(assignment.owners.values())
    assert 1 == assignment.owners[ALERTS]


def test_of_one_generation_the_owner_of_alerts_is_current() -> None:
    """Without a newer generation, a replica with another configuration changes nothing: it stands by."""
    other, owner = a_replica(1, config="a" * 64), a_replica(2, config="b" * 64)
    assignment = assign(Membership(replicas=(other, owner), owners={ALERTS: Ownership(2, 1)}))

    assert {2} == set(assignment.owners.values())
    assert {
        1: "its configuration aaaaaaaa differs from bbbbbbbb of replica 'replica-2', and both have generation 0; use "
        "one configuration, or set a higher store.generation for the newer one"
    } == assignment.standby


def test_without_an_owner_of_alerts_an_owner_of_shards_is_current() -> None:
    """While nobody owns the alerts, the configuration with which canaries run stays."""
    idle, owner = a_replica(1, config="a"), a_replica(2, config="b")

    assert {owner.name} == set(owners_of(idle, owner, owners={SHARD_RESOURCES[7]: 2}).values())


def test_without_owners_the_replica_that_joined_first_is_current() -> None:
    """At the start of all, the first one decides."""
    first, second = a_replica(1, config="a"), a_replica(2, config="b")

    assert {first.name} == set(owners_of(second, first).values())


def test_a_new_configuration_takes_over_when_the_last_old_replica_drains() -> None:
    """A rolling update without a generation: the new replicas stand by until the last old one leaves."""
    old, new = a_replica(1, config="a", draining=True), a_replica(2, config="b")
    assignment = assign(Membership(replicas=(old, new), owners={ALERTS: Ownership(1, 1)}))

    assert {2} == set(assignment.owners.values())
    assert {} == assignment.standby


def test_a_rollback_takes_over_when_the_newer_replicas_drain() -> None:
    """The highest generation counts among those that stay."""
    new, old = a_replica(1, generation=5, draining=True), a_replica(2, generation=4)

    assert {old.name} == set(owners_of(new, old, owners={ALERTS: 1}).values())
