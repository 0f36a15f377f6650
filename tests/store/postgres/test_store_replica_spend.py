"""The spend of all replicas, as each of them reads it."""

import pytest

from streamcanary.model.spend import Spend, SpendByOwner
from streamcanary.store.database import Store
from streamcanary.store.postgres.backend import PostgresBackend
from streamcanary.store.postgres.replication.lease_store import PostgresLeaseStore
from streamcanary.store.postgres.replication.replica_spend import PostgresReplicaSpend
from support.store.builders import FrozenClock

pytestmark = pytest.mark.real("postgresql")

DAY, LONG_AGO = "2026-02-02", "2026-01-01"
SMALL = Spend(input_tokens=1, output_tokens=2, input_usd=0.1, output_usd=0.2, requests=1)
LARGE = Spend(input_tokens=10, output_tokens=20, input_usd=1.0, output_usd=2.0, requests=10)


async def test_the_spend_of_others_includes_that_of_ended_sessions(store: Store, clock: FrozenClock) -> None:
    """A session sets its own; what one has spent counts also after its end, and old days are left out."""
    assert isinstance(store.backend, PostgresBackend)
    leases, spend = PostgresLeaseStore(store.backend), PostgresReplicaSpend(store.backend, clock)
    first, second, third = [
        (await leases.join(name, generation=0, config="", address="", ttl=60.0)).session for name in "abc"
    ]
    await leases.commit_runs(first, {}, {}, {DAY: LARGE, LONG_AGO: LARGE})
    await leases.commit_runs(second, {}, {}, {DAY: LARGE})
    await leases.commit_runs(second, {}, {}, {DAY: SMALL})
    await leases.leave(first)
    assert SpendByOwner({DAY: SMALL}, {DAY: LARGE}) == await spend.load_spend_by_owner(second)
    assert SpendByOwner({}, {DAY: LARGE + SMALL}) == await spend.load_spend_by_owner(third)
