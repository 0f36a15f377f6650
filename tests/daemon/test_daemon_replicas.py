"""Two daemons on one database: they share the canaries, and one goes on alone when the other ends."""

from pathlib import Path

import pytest

from support.http_client import loopback_client
from support.programs.replica_set import CANARIES, INTERVAL, TAKEOVER, ReplicaSet, is_each_incident


@pytest.mark.real("postgresql")
@pytest.mark.timeout(180)
async def test_two_replicas_share_the_canaries_and_one_takes_over(tmp_path: Path, postgres_url: str) -> None:
    """Each runs some canaries; after a kill the other runs all, with one incident for each in the outage."""
    async with ReplicaSet(tmp_path, postgres_url) as replicas:
        await replicas.start_over("r0", "r1")
        victim, canaries = await replicas.owners()
        survivor = "r1" if victim == "r0" else "r0"
        assert len(CANARIES) == sum(canaries.values())
        shown = (await replicas.get(survivor, "/api/v1/canaries"))["canaries"]
        assert list(CANARIES) == sorted((one["name"] for one in shown if one["recent_runs"]), key=CANARIES.index)
        assert (canaries[victim], canaries[survivor]) == (
            await _exported_canaries(replicas, victim),
            await _exported_canaries(replicas, survivor),
        )
        await _check_messages_about_runs(replicas, victim, survivor)
        await replicas.fail()
        await replicas.kill(victim)
        await replicas.wait_for_open(len(CANARIES))
        await replicas.wait_until_shared()
        await replicas.recover()
        await replicas.end()
        assert is_each_incident(replicas.incidents(), "trigger", "resolve"), replicas.events
        assert ({}, True) == (replicas.duplicates(), replicas.longest_gap() < TAKEOVER + INTERVAL)


async def _exported_canaries(replicas: ReplicaSet, name: str) -> int:
    """Return the number of canaries of which a replica exports the series."""
    async with loopback_client() as client:
        text = (await client.get(await replicas.address(name) + "/metrics")).text
    return sum(line.startswith("streamcanary_canary_info{") for line in text.splitlines())


async def _check_messages_about_runs(replicas: ReplicaSet, owner: str, other: str) -> None:
    """Check that a replica names the one that runs a canary when it is asked for a run of it."""
    pages = {name: await replicas.get(other, f"/api/v1/runs?canary={name}") for name in CANARIES}
    assert {owner, ""} == {page["kept_by"] for page in pages.values()}
    canary = next(name for name, page in pages.items() if page["kept_by"])
    path = f"/api/v1/runs?canary={canary}&outcome=ok"
    kept = {run["run_id"] for run in pages[canary]["runs"]}  # before it handed the canary over
    page = await replicas.wait_for(owner, path, lambda page: page["runs"] and page["runs"][0]["run_id"] not in kept)
    problem = await replicas.wait_for(
        other, f"/api/v1/runs/{page['runs'][0]['run_id']}", lambda problem: "may keep it" in problem["detail"]
    )
    assert f"the replica {owner} runs {canary} and may keep it" in problem["detail"]
