"""The database of running replicas is replaced at the end of an outage: by a backup of before it, or an empty one."""

import asyncio
from pathlib import Path

import pytest

from support.postgresql.cluster import Cluster
from support.programs.replica_set import CANARIES, ReplicaSet, is_each_incident

pytestmark = [pytest.mark.real("postgresql"), pytest.mark.timeout(180)]


@pytest.mark.parametrize("empty", [False, True], ids=["backup", "empty"])
async def test_incidents_outlive_the_database(
    tmp_path: Path, postgresql: Cluster, postgres_url: str, empty: bool
) -> None:
    """The new database knows none of them, and no canary fails any more: each resolves once all the same."""
    async with ReplicaSet(tmp_path, postgres_url) as replicas:
        await replicas.start_over("r0", "r1")
        if not empty:
            await asyncio.to_thread(postgresql.back_up, postgres_url)
        await replicas.wait_until_shared()
        await replicas.fail()
        await replicas.wait_for_open(len(CANARIES))
        await replicas.wait_until_evaluated()
        replicas.provider.set_fault("ok")
        await asyncio.to_thread(postgresql.restore, postgres_url, empty=empty)
        await replicas.recover()
        await replicas.wait_until_shared()
        await replicas.end()
        assert is_each_incident(replicas.incidents(), "trigger", "resolve"), replicas.events
        assert any(daemon.log_lines("alerts restored from memory") for daemon in replicas.daemons.values())
