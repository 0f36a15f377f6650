"""A replica that is stopped or cut off past its lease: others take over, and it writes and sends nothing any more."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.postgresql.cluster import Cluster
from support.programs.replica_set import CANARIES, INTERVAL, LEASE, TAKEOVER, ReplicaSet, is_each_incident
from support.servers.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.real("postgresql"), pytest.mark.timeout(180)]


@pytest.fixture
async def replicas(tmp_path: Path, postgres_url: str) -> AsyncIterator[ReplicaSet]:
    async with ReplicaSet(tmp_path, postgres_url) as replicas:
        yield replicas


async def test_a_replica_that_continues_after_its_lease_writes_and_sends_nothing(replicas: ReplicaSet) -> None:
    """The owner of the alerts is stopped while its notifications are on the way, and continues when all is over."""
    await replicas.start_over("r0", "r1", "r2")
    victim, _ = await replicas.owners()
    replicas.pager.is_hanging = True
    await replicas.fail()
    await replicas.pager.wait_for_deliveries(1)
    replicas.stop(victim)
    stopped = time.time()
    await replicas.wait_until_shared()
    replicas.pager.is_hanging = False
    await replicas.wait_for_open(len(CANARIES))
    await replicas.recover()
    replicas.resume(victim)
    continued = time.time()
    await replicas.wait_until_shared()
    await asyncio.sleep(2 * LEASE)
    assert is_each_incident(replicas.incidents(), "trigger", "resolve"), replicas.events
    query = "SELECT started, convert_from(outcome, 'UTF8')::json FROM runs WHERE started < %s"
    late = [
        run
        for started, run in replicas.query(query, continued)
        if run["replica"] == victim and started + run["duration"] > stopped
    ]
    assert [] == late
    await replicas.end()
    assert ({}, True) == (replicas.duplicates(), replicas.longest_gap() < TAKEOVER + INTERVAL)


async def test_a_replica_without_the_database_hands_its_work_over(
    replicas: ReplicaSet, postgresql: Cluster, postgres_url: str
) -> None:
    """The network between the owner of the alerts and the database fails in an outage, and is repaired."""
    with TcpProxy(postgresql.port) as proxy:
        database = postgres_url.rpartition("/")[2]
        await replicas.start_over("r0", url=postgresql.url(database, port=proxy.port))
        await replicas.start("r1", "r2")
        assert "r0" == (await replicas.owners())[0]
        await replicas.fail()
        proxy.cut()
        await replicas.wait_until_shared(["r1", "r2"])
        ready = await replicas.wait_for("r0", "/readyz", lambda answer: not answer["ready"])
        assert ready["checks"]["leases"].startswith("no lease: ")
        await replicas.wait_for_open(len(CANARIES))
        proxy.heal()
        await replicas.wait_until_shared(["r0", "r1", "r2"])
        await replicas.recover()
        await replicas.wait_for("r0", "/readyz", lambda answer: answer["ready"])
        await replicas.end()
    assert is_each_incident(replicas.incidents(), "trigger", "resolve"), replicas.events
    assert ({}, True) == (replicas.duplicates(), replicas.longest_gap() < TAKEOVER + INTERVAL)


async def test_the_database_is_restarted_in_an_outage(tmp_path: Path, own_postgresql: Cluster) -> None:
    """Runs wait for the database, and nothing is lost: once stopped in order, and once killed."""
    with own_postgresql.database() as url:
        async with ReplicaSet(tmp_path, url) as replicas:
            await replicas.start_over("r0", "r1", "r2")
            await replicas.fail()
            own_postgresql.restart()
            await replicas.wait_for_open(len(CANARIES))
            own_postgresql.kill()
            own_postgresql.start()
            await replicas.wait_until_shared()
            await replicas.recover()
            unrecorded = await replicas.end()
            assert is_each_incident(replicas.incidents(), "trigger", "resolve"), replicas.events
            assert ({}, True) == (replicas.duplicates(), replicas.longest_gap() < TAKEOVER + INTERVAL)
            assert {} == unrecorded


async def test_the_database_is_down_for_longer_than_the_leases(tmp_path: Path, own_postgresql: Cluster) -> None:
    """Nobody runs or notifies until it is back; then all go on, those that start meanwhile too, with what they knew."""
    with own_postgresql.database() as url:
        async with ReplicaSet(tmp_path, url) as replicas:
            await replicas.start_over("r0", "r1")
            await replicas.fail()
            await replicas.wait_for_open(len(CANARIES))
            own_postgresql.stop()
            for name in ("r0", "r1"):
                await replicas.wait_for(name, "/readyz", lambda answer: "no lease" in answer["checks"]["leases"])
            count = len(replicas.provider.requests)
            await replicas.launch("r2")
            ready = await replicas.wait_for("r2", "/readyz", lambda answer: "leases" in answer["checks"])
            assert (False, count) == (ready["ready"], len(replicas.provider.requests))
            replicas.provider.set_fault("ok")
            own_postgresql.start()
            await replicas.wait_until_shared(["r0", "r1", "r2"])
            await replicas.recover()
            await replicas.end()
            assert is_each_incident(replicas.incidents(), "trigger", "resolve", ignoring="again"), replicas.events
            assert {} == replicas.duplicates()
