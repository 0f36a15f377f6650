"""A rolling update: replicas are replaced one by one, each by SIGTERM."""

from pathlib import Path

import pytest

from support.programs.replica_set import INTERVAL, ReplicaSet

pytestmark = [pytest.mark.real("postgresql"), pytest.mark.timeout(240)]

LONGER_INTERVAL = 3.0
"""Seconds between two runs: more than twice as long as it takes to hand a shard over."""
SLACK = 0.9
"""Seconds by which a request is late while other processes start."""


async def test_a_rolling_update_loses_no_run_and_notifies_nobody(tmp_path: Path, postgres_url: str) -> None:
    """All of three replicas end one by one, while a fourth starts, and others after it.

    A run that is due during a hand-over is made after it. Canaries that run more often than a shard is handed over miss
    one run at each, at most.
    """
    longer = ("chat", "search", "summary", "vision")
    async with ReplicaSet(tmp_path, postgres_url, intervals=dict.fromkeys(longer, LONGER_INTERVAL)) as replicas:
        await replicas.start_over("r0", "r1", "r2")
        await replicas.start("r3")
        seconds = []
        for name in ("r0", "r1", "r2"):
            ended = await replicas.daemons[name].terminate()
            assert 0 == ended.code
            seconds.append(ended.seconds)
            await replicas.wait_until_shared()
            await replicas.start(f"{name}-new")
        unrecorded = await replicas.end()
        assert [] == replicas.pager.log
        assert True is all(each < 6 for each in seconds)
        assert ({}, {}) == (replicas.duplicates(), unrecorded)
        gaps = replicas.longest_gaps()
        assert {} == {name: gap for name, gap in gaps.items() if name in longer and gap >= 2 * LONGER_INTERVAL}
        assert {} == {name: gap for name, gap in gaps.items() if gap >= 2 * INTERVAL + SLACK and name not in longer}
