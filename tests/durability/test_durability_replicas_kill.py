"""Three daemons on one database, any of which is killed in an outage: each incident opens once and resolves once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.programs.replica_set import CANARIES, INTERVAL, TAKEOVER, ReplicaSet, is_each_incident

pytestmark = [pytest.mark.real("postgresql"), pytest.mark.timeout(180)]


@pytest.fixture
async def replicas(tmp_path: Path, postgres_url: str) -> AsyncIterator[ReplicaSet]:
    async with ReplicaSet(tmp_path, postgres_url) as replicas:
        await replicas.start_over("r0", "r1", "r2")
        yield replicas


async def test_a_replica_is_killed_in_an_outage(replicas: ReplicaSet) -> None:
    """The others run its canaries within the lease and some seconds, and nobody is notified of that."""
    victim = await replicas.another_owner()
    _, canaries = await replicas.owners()
    await replicas.fail()
    await replicas.kill(victim)
    await replicas.wait_for_open(len(CANARIES))
    await replicas.wait_until_shared()
    await replicas.recover()
    unrecorded = await replicas.end()
    assert is_each_incident(replicas.incidents(), "trigger", "resolve"), replicas.events
    assert ({}, True) == (replicas.duplicates(), replicas.longest_gap() < TAKEOVER + INTERVAL)
    assert sum(unrecorded.values()) <= canaries[victim]  # those that were running, or waited for the next commit


async def test_the_owner_of_alerts_is_killed_in_an_outage(replicas: ReplicaSet) -> None:
    """Its successor continues with all detectors and incidents; what it sends again has the same key."""
    victim, canaries = await replicas.owners()
    await replicas.fail()
    await replicas.pager.wait_for_deliveries(2)
    await replicas.kill(victim)
    await replicas.wait_for_open(len(CANARIES))
    await replicas.wait_until_shared()
    await replicas.recover()
    unrecorded = await replicas.end()
    assert is_each_incident(replicas.incidents(), "trigger", "resolve", ignoring="again"), replicas.events
    assert ({}, True) == (replicas.duplicates(), replicas.longest_gap() < TAKEOVER + INTERVAL)
    assert sum(unrecorded.values()) <= canaries[victim]  # those that were running, or waited for the next commit
