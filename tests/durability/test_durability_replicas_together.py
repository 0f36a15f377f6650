"""What replicas agree on: which configuration is current, and which silences there are."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.programs.replica_set import CANARIES, ReplicaSet, make_canary

pytestmark = [pytest.mark.real("postgresql"), pytest.mark.timeout(180)]


@pytest.fixture
async def replicas(tmp_path: Path, postgres_url: str) -> AsyncIterator[ReplicaSet]:
    async with ReplicaSet(tmp_path, postgres_url) as replicas:
        yield replicas


def _standby_of(answer: dict[str, Any]) -> str:
    return str(answer["checks"]["leases"])


async def test_the_configuration_of_the_newer_generation_runs(replicas: ReplicaSet) -> None:
    """A replica with an older one hands over, says why it stands by, and is ready; it works again with a newer one."""
    await replicas.start_over("r0")
    newer = {"canaries": {**{name: make_canary(name) for name in CANARIES}, "added": make_canary("added")}}
    await replicas.start("r1", generation=1, **newer)
    ready = await replicas.wait_for("r0", "/readyz", lambda answer: "standby" in _standby_of(answer))
    await replicas.wait_for("r1", "/api/v1/canaries/added", lambda answer: answer.get("status", {}).get("since"))
    assert True is ready["ready"]
    assert _standby_of(ready).startswith("standby: its configuration has generation 0")
    assert 1 == len(replicas.daemons["r0"].log_lines("replica stands by"))
    file = replicas.daemons["r0"].config
    file.write_text(json.dumps({"web": {"port": 0}, **replicas.config("r0", generation=2)}))
    replicas.daemons["r0"]._running.send_signal(signal.SIGHUP)
    await replicas.wait_for("r1", "/readyz", lambda answer: "has generation 1" in _standby_of(answer))
    assert "r0" == (await replicas.owners())[0]
    assert ([], {}) == (replicas.pager.log, replicas.duplicates())


async def test_of_one_generation_the_configuration_that_runs_stays(replicas: ReplicaSet) -> None:
    """A replica with another configuration joins, and stands by."""
    await replicas.start_over("r0")
    await replicas.start("r1", canaries={"chat": make_canary("chat")})
    ready = await replicas.wait_for("r1", "/readyz", lambda answer: "standby" in _standby_of(answer))
    assert "differs from" in _standby_of(ready)
    assert ("r0", {"r0": len(CANARIES), "r1": 0}) == await replicas.owners()


async def test_a_silence_is_seen_by_all(replicas: ReplicaSet) -> None:
    """A silence that one replica creates mutes alerts that another evaluates, until a third one ends it."""
    await replicas.start_over("r0", "r1", "r2")
    owner, _ = await replicas.owners()
    first, second = (name for name in ("r0", "r1", "r2") if name != owner)
    body = {"match": ['target="sim"'], "for": "1h", "by": "me", "why": "test"}
    created = await replicas.post(first, "/api/v1/silences", body)
    for name in ("r0", "r1", "r2"):
        await replicas.wait_for(
            name,
            "/api/v1/silences",
            lambda answer: [created["id"]] == [one["id"] for one in answer["silences"]],
            within=5.0,
        )
    await replicas.fail()
    for name in ("r0", "r1", "r2"):
        await replicas.wait_for(
            name, "/api/v1/status", lambda answer: len(CANARIES) <= answer["summary"]["silenced"], within=10.0
        )
    assert [] == replicas.pager.log
    assert 204 == await replicas.delete(second, f"/api/v1/silences/{created['id']}")
    await replicas.wait_for_open(len(CANARIES))
    await replicas.recover()


async def test_the_budget_is_one_for_all(replicas: ReplicaSet) -> None:
    """Both stop when both together have spent it, and one of them notifies; the spend of one that is killed counts."""
    limit, most_of_a_run = 0.06, 0.003  # USD
    common = replicas.config("r0")
    target = {**common["targets"]["sim"], "price": {"input": 50.0, "output": 50.0}}
    canaries = {
        name: {**canary, "request": {"max_completion_tokens": 20}} for name, canary in common["canaries"].items()
    }
    config = {"targets": {"sim": target}, "canaries": canaries, "budget": {"usd_per_day": limit}}
    await replicas.start_over("r0", "r1", **config)
    for name in ("r0", "r1"):
        await replicas.daemons[name].wait_for_log("budget exhausted")
    await replicas.wait_for_open(1)
    await replicas.wait_until_evaluated()
    before = _spent(replicas)
    await replicas.kill("r0")
    await replicas.wait_until_shared(["r1"])
    assert True is (limit - 2 * most_of_a_run < before < limit + len(CANARIES) * most_of_a_run)
    assert before == pytest.approx(_spent(replicas), abs=most_of_a_run)  # what was not committed yet
    assert [["trigger"]] == list(replicas.incidents().values()), replicas.events


def _spent(replicas: ReplicaSet) -> float:
    """Return the USD that sessions have spent, those that have ended too."""
    tables = "SELECT input_usd, output_usd FROM replica_spend UNION ALL SELECT input_usd, output_usd FROM spend"
    return sum(map(sum, replicas.query(tables)))
