"""The contract of the lease store, in memory and in PostgreSQL: one owner a resource, and no commit after its end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamcanary.model.replicas import Membership, Ownership, TakenLease, Takeover
from streamcanary.model.spend import Spend
from streamcanary.replicas.lease_store import LeaseStore
from streamcanary.store.errors import SessionLost
from support.alerting.builders import a_run, bad, good
from support.store.lease_databases import TTL, InMemory, LeaseDatabase, in_postgres, join

SHARD, OTHER_SHARD = "shard-000", "shard-001"
DAY, NEXT_DAY = "2027-01-15", "2027-01-16"


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real("postgresql"))])
async def database(request: pytest.FixtureRequest) -> AsyncIterator[LeaseDatabase]:
    """Return an empty database."""
    if request.param == "memory":
        yield InMemory()
    else:
        async with in_postgres(request.getfixturevalue("postgres_url")) as database:
            yield database


async def renew(store: LeaseStore, session: int, **more: Any) -> Membership:
    """Renew a session."""
    values: dict[str, Any] = {"ttl": TTL, "generation": 1, "config": "c", "draining": False, **more}
    return await store.renew(session, **values)


async def test_a_replica_that_joins_is_a_member(database: LeaseDatabase) -> None:
    """All see it, with what it has announced, the oldest session first."""
    store, other = await database.connect(), await database.connect()
    first = await join(store, "a", address="10.0.0.1:9465")
    second = await join(other, "b", generation=2, config="d")

    assert first.session < second.session
    assert Membership(replicas=(first, second)) == await renew(store, first.session)
    assert (first.name, first.address, first.generation, first.config) == ("a", "10.0.0.1:9465", 1, "c")
    assert abs(first.joined - second.joined) < 60


async def test_a_renewal_tells_what_has_changed(database: LeaseDatabase) -> None:
    """Others see a new configuration, and that a replica is about to leave."""
    store = await database.connect()
    session = (await join(store, "a")).session
    (replica,) = (await renew(store, session, generation=7, config="new", draining=True)).replicas

    assert (7, "new", True) == (replica.generation, replica.config, replica.draining)


async def test_free_resources_are_taken_with_a_new_epoch(database: LeaseDatabase) -> None:
    """The first epoch is 1; what is owned already keeps its epoch."""
    store = await database.connect()
    session = (await join(store, "a")).session

    assert {SHARD: TakenLease(1, Takeover.FREE)} == await store.acquire(session, [SHARD])
    assert {SHARD: TakenLease(1), OTHER_SHARD: TakenLease(1, Takeover.FREE)} == await store.acquire(
        session, [SHARD, OTHER_SHARD]
    )
    owned = Ownership(session, 1)
    assert {SHARD: owned, OTHER_SHARD: owned} == (await renew(store, session)).owners


async def test_what_another_owns_is_not_taken(database: LeaseDatabase) -> None:
    """The answer has only what the session owns."""
    store, other = await database.connect(), await database.connect()
    first, second = (await join(store, "a")).session, (await join(other, "b")).session
    await store.acquire(first, [SHARD])

    assert {OTHER_SHARD: TakenLease(1, Takeover.FREE)} == await other.acquire(second, [SHARD, OTHER_SHARD])
    assert {SHARD: Ownership(first, 1), OTHER_SHARD: Ownership(second, 1)} == (await renew(other, second)).owners


async def test_released_resources_are_free(database: LeaseDatabase) -> None:
    """A release of what another owns changes nothing."""
    store, other = await database.connect(), await database.connect()
    first, second = (await join(store, "a")).session, (await join(other, "b")).session
    await store.acquire(first, [SHARD, OTHER_SHARD])
    await other.release(second, [OTHER_SHARD])
    await store.release(first, [SHARD])
    await store.release(first, [SHARD])

    assert {OTHER_SHARD: Ownership(first, 1)} == (await renew(other, second)).owners
    assert {SHARD: TakenLease(2, Takeover.RELEASED)} == await other.acquire(second, [SHARD, OTHER_SHARD])


async def test_a_replica_that_leaves_releases_everything(database: LeaseDatabase) -> None:
    """Others see at their next renewal that it is gone. To leave twice is no error."""
    store, other = await database.connect(), await database.connect()
    first, second = (await join(store, "a")).session, await join(other, "b")
    await store.acquire(first, [SHARD])
    await store.leave(first)
    await store.leave(first)

    assert Membership(replicas=(second,)) == await renew(other, second.session)
    assert {SHARD: TakenLease(2, Takeover.RELEASED)} == await other.acquire(second.session, [SHARD])


async def test_what_an_expired_session_owned_is_free(database: LeaseDatabase) -> None:
    """Anyone who renews notices, and the expired session can do nothing more."""
    store, other = await database.connect(), await database.connect()
    first, second = (await join(store, "a")).session, await join(other, "b")
    await store.acquire(first, [SHARD])
    await database.expire(first)

    assert Membership(replicas=(second,)) == await renew(other, second.session)
    assert {SHARD: TakenLease(2, Takeover.EXPIRED)} == await other.acquire(second.session, [SHARD])
    for request in (
        renew(store, first),
        store.acquire(first, [OTHER_SHARD]),
        store.commit_runs(first, {SHARD: [good()]}, {SHARD: 1}, {}),
    ):
        with pytest.raises(SessionLost, match=f"session {first} has ended"):
            await request
    await store.release(first, [SHARD])
    await store.leave(first)
    assert {SHARD: Ownership(second.session, 2)} == (await renew(other, second.session)).owners


async def test_a_session_cannot_be_renewed_after_its_end(database: LeaseDatabase) -> None:
    """Also if nobody else has noticed that it has expired: its replica has stopped by its own clock."""
    store = await database.connect()
    session = (await join(store, "a")).session
    await database.expire(session)

    with pytest.raises(SessionLost):
        await renew(store, session)
    other = await join(store, "a")
    assert Membership(replicas=(other,)) == await renew(store, other.session)


async def test_an_unknown_session_is_lost(database: LeaseDatabase) -> None:
    """Of another database, for example."""
    store = await database.connect()

    with pytest.raises(SessionLost):
        await renew(store, 4711)
    with pytest.raises(SessionLost):
        await store.acquire(4711, [SHARD])
    with pytest.raises(SessionLost):
        await store.commit_runs(4711, {}, {}, {})


async def test_of_many_acquirers_one_gets_a_resource(database: LeaseDatabase) -> None:
    """Ten replicas ask for the same resources at once, twice: each resource has one owner, and two epochs."""
    stores = [await database.connect() for _ in range(10)]
    sessions = [(await join(store, f"replica-{number}")).session for number, store in enumerate(stores)]
    shards = [f"shard-{number:03}" for number in range(50)]
    for epoch in (1, 2):
        orders = [shards[5 * number :] + shards[: 5 * number] for number in range(10)]
        answers = await asyncio.gather(
            *(store.acquire(session, order) for store, session, order in zip(stores, sessions, orders, strict=True))
        )
        assert sorted(shards) == sorted(shard for taken in answers for shard in taken)
        assert {epoch} == {lease.epoch for taken in answers for lease in taken.values()}
        await asyncio.gather(*(store.release(session, shards) for store, session in zip(stores, sessions, strict=True)))


async def test_of_many_that_notice_an_expired_session_one_takes_over(database: LeaseDatabase) -> None:
    """All renew, and all ask for what it owned, at once."""
    stores = [await database.connect() for _ in range(8)]
    sessions = [(await join(store, f"replica-{number}")).session for number, store in enumerate(stores)]
    await stores[0].acquire(sessions[0], [SHARD])
    await database.expire(sessions[0])

    async def take_over(store: LeaseStore, session: int) -> dict[str, TakenLease]:
        await renew(store, session)
        return dict(await store.acquire(session, [SHARD]))

    answers = await asyncio.gather(*map(take_over, stores[1:], sessions[1:]))
    assert [{SHARD: TakenLease(2, Takeover.EXPIRED)}] == [answer for answer in answers if answer]


async def test_all_sessions_may_expire_at_once(database: LeaseDatabase) -> None:
    """As after a database that did not answer for a while: all notice, nobody waits for another."""
    stores = [await database.connect() for _ in range(8)]
    sessions = [(await join(store, f"replica-{number}")).session for number, store in enumerate(stores)]
    await database.expire(*sessions)

    lost = await asyncio.gather(*map(renew, stores, sessions), return_exceptions=True)
    assert [SessionLost] * 8 == [type(each) for each in lost]
    joined = await asyncio.gather(*(join(store, f"replica-{number}") for number, store in enumerate(stores)))
    membership = await renew(stores[0], joined[0].session)
    assert sorted(each.session for each in joined) == [each.session for each in membership.replicas]


# ---- runs


async def an_owner(database: LeaseDatabase, *shards: str, name: str = "a") -> tuple[LeaseStore, int]:
    """Return a store and a session that owns ``shards``."""
    store = await database.connect()
    session = (await join(store, name)).session
    await store.acquire(session, shards)
    return store, session


async def test_runs_of_owned_shards_are_recorded_for_evaluation(database: LeaseDatabase) -> None:
    """In the order of their ends, as they are."""
    store, session = await an_owner(database, SHARD, OTHER_SHARD)
    refused = await store.commit_runs(
        session, {SHARD: [good(1), bad(2)], OTHER_SHARD: [good(3)]}, {SHARD: 1, OTHER_SHARD: 1}, {}
    )

    assert [] == list(refused)
    assert [good(1), bad(2), good(3)] == await database.pending()
    assert ["run-1", "run-2", "run-3"] == await database.recorded()


async def test_a_run_is_recorded_once(database: LeaseDatabase) -> None:
    """However often a commit is repeated, also after the run was evaluated."""
    store, session = await an_owner(database, SHARD)
    for _ in range(2):
        await store.commit_runs(session, {SHARD: [good(1)]}, {SHARD: 1}, {})
    assert [good(1)] == await database.pending()

    await database.consume()
    await store.commit_runs(session, {SHARD: [good(1), good(2)]}, {SHARD: 1}, {})
    assert [good(2)] == await database.pending()
    assert ["run-1", "run-2"] == await database.recorded()


@pytest.mark.parametrize("epochs", [{SHARD: 1, OTHER_SHARD: 2}, {SHARD: 1, OTHER_SHARD: 0}, {SHARD: 1}])
async def test_runs_with_another_epoch_are_refused(database: LeaseDatabase, epochs: dict[str, int]) -> None:
    """And nothing else: the runs of the other shards are recorded."""
    store, session = await an_owner(database, SHARD, OTHER_SHARD)
    refused = await store.commit_runs(session, {SHARD: [good(1)], OTHER_SHARD: [good(2)]}, epochs, {})

    assert [OTHER_SHARD] == list(refused)
    assert ["run-1"] == await database.recorded()


async def test_runs_of_a_shard_of_another_are_refused(database: LeaseDatabase) -> None:
    """Even with the right epoch."""
    store, session = await an_owner(database, SHARD)
    await an_owner(database, OTHER_SHARD, name="b")
    epochs = {SHARD: 1, OTHER_SHARD: 1}

    assert [OTHER_SHARD] == list(await store.commit_runs(session, {OTHER_SHARD: [good(2)]}, epochs, {}))
    assert [] == await database.recorded()


async def test_runs_of_a_shard_that_was_released_in_between_are_refused(database: LeaseDatabase) -> None:
    """A commit of the former epoch writes nothing, also if the same session owns the shard again."""
    store, session = await an_owner(database, SHARD)
    await store.release(session, [SHARD])
    assert [SHARD] == list(await store.commit_runs(session, {SHARD: [good(1)]}, {SHARD: 1}, {}))

    await store.acquire(session, [SHARD])
    assert [SHARD] == list(await store.commit_runs(session, {SHARD: [good(1)]}, {SHARD: 1}, {}))
    assert [] == list(await store.commit_runs(session, {SHARD: [good(1)]}, {SHARD: 2}, {}))


async def test_a_late_commit_of_a_deposed_owner_is_refused(database: LeaseDatabase) -> None:
    """A replica that was paused past its lease cannot write to a shard that another one owns now."""
    store, session = await an_owner(database, SHARD)
    other, second = await an_owner(database, name="b")
    await database.expire(session)
    await other.acquire(second, [SHARD])

    with pytest.raises(SessionLost):
        await store.commit_runs(session, {SHARD: [good(1)]}, {SHARD: 1}, {DAY: Spend(requests=1)})
    assert [] == await database.recorded()
    assert {} == await database.spend()


async def test_text_that_is_not_unicode_is_recorded(database: LeaseDatabase) -> None:
    """Whatever a provider answers: NUL, and half of a surrogate pair."""
    store, session = await an_owner(database, SHARD)
    await store.commit_runs(session, {SHARD: [a_run(1, model="a\0b\U0001f600")]}, {SHARD: 1}, {})

    assert ["a\0b\U0001f600"] == [run.model for run in await database.pending()]


# ---- spend


async def test_the_spend_of_a_session_is_set(database: LeaseDatabase) -> None:
    """A repeated commit counts once; at its end it is added to that of the days."""
    store, session = await an_owner(database, SHARD)
    for requests in (1, 1, 5):
        await store.commit_runs(session, {}, {}, {DAY: Spend(requests=requests, input_usd=0.25 * requests)})
    await store.commit_runs(session, {}, {}, {NEXT_DAY: Spend(output_tokens=3)})
    assert {} == await database.spend()

    await store.leave(session)
    await store.leave(session)
    assert {DAY: Spend(requests=5, input_usd=1.25), NEXT_DAY: Spend(output_tokens=3)} == await database.spend()


async def test_the_spend_of_all_sessions_is_added_up(database: LeaseDatabase) -> None:
    """Whether they leave or expire."""
    store, first = await an_owner(database)
    other, second = await an_owner(database, name="b")
    third = (await join(store, "c")).session
    for each, requests in ((first, 1), (second, 10), (third, 100)):
        await store.commit_runs(each, {}, {}, {DAY: Spend(requests=requests)})
    await store.leave(first)
    await database.expire(second, third)
    await join(other, "d")

    assert {DAY: Spend(requests=111)} == await database.spend()
