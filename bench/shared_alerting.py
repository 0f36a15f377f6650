"""Measure how many runs a second the owner of alerting evaluates, of replicas that share a database in PostgreSQL.

5,000 canaries have run once while nobody owned alerting. The owner that takes over reads, decodes and evaluates these
runs, and commits what they have changed, in batches, as fast as it can. Every 20th canary fails. The database runs in
processes of its own, whose CPU does not count; what the recording of the runs costs does not, either.
"""

import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import Any

from bench.table import Row
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.service.shared.shared_alerting import SharedAlerting
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.config_types.secret import Secret
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, Usage
from streamcanary.model.replicas import ALERTS, Ownership
from streamcanary.store.database import Store

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.postgresql.cluster import Cluster  # type: ignore[import-not-found]

_CANARIES, _EVERY = 5000, 60.0
_FAILING = 20
_SHARD = "shard-000"
_FAULT = make_fault(FaultKind.STALLED, Phase.STREAM, "no token for 5 s after 11 chunks", status=200)
_RULES: dict[str, dict[str, Any]] = {
    "Spike": {"detector": {"type": "spike", "normal": "2%", "spike": "30%", "false_pages": "1 per 365d"}},
    "BurnRate": {"detector": {"type": "burn_rate", "objective": "99%"}},
    "Slow": {"measure": "first_token", "limit": "2s", "detector": {"type": "ratio", "over": "20 runs"}},
    "Once": {"detector": {"type": "consecutive", "failures": 1}},
    "Ratio": {"detector": {"type": "ratio", "over": "5m", "threshold": "50%"}, "per": ["target", "all"]},
}


def rows() -> list[Row]:
    """Measure with the first three of the rules, and with all five, of which one pools canaries."""
    logging.getLogger("streamcanary").setLevel(logging.ERROR)  # that no receiver is notified
    with Cluster() as cluster:
        return [asyncio.run(_measure(cluster, rules)) for rules in (3, 5)]


async def _measure(cluster: Cluster, count: int) -> Row:
    from streamcanary.store.postgres.backend import PostgresBackend
    from streamcanary.store.postgres.replication.alert_inputs import PostgresAlertInputs
    from streamcanary.store.postgres.replication.lease_store import PostgresLeaseStore
    from streamcanary.store.postgres.server import Server

    config = AlertsConfig.model_validate({"rules": dict(list(_RULES.items())[:count]), "group_by": ["alert"]})
    canaries = [
        Canary(name=f"canary-{number}", target=f"t{number % 20}", provider="p", interval=_EVERY)
        for number in range(_CANARIES)
    ]
    clock = SystemClock()
    with cluster.database() as url:
        backend = PostgresBackend.open(Server(Secret(url), "streamcanary", 60.0), clock, retention=86400.0)
        leases = PostgresLeaseStore(backend)
        session = (await leases.join("bench", generation=0, config="", address="", ttl=600.0)).session
        taken = await leases.acquire(session, [ALERTS, _SHARD])
        await _record_runs(leases, session, taken[_SHARD].epoch)
        inputs = PostgresAlertInputs(backend)
        alerting = SharedAlerting(
            config=config,
            instance="bench",
            canaries=canaries,
            store=Store(backend),
            inputs=inputs,
            owner=lambda: Ownership(session, taken[ALERTS].epoch),
            is_valid=lambda: True,
            clock=clock,
        )
        task = asyncio.create_task(alerting.run())
        await asyncio.sleep(1)
        cpu, begun = time.process_time(), time.perf_counter()
        await alerting.gained([ALERTS])
        while (await inputs.progress()).first_pending is not None:
            await asyncio.sleep(0.1)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await backend.close(10.0)
    pooled = ", 1 pooled" if count == len(_RULES) else ""
    return Row(
        f"owner of alerts, {_CANARIES:,} canaries, {count} rules{pooled}: runs evaluated and committed",
        f"{_CANARIES / seconds:,.0f}/s, {cpu / _CANARIES * 1e3:.2f} ms CPU each",
    )


async def _record_runs(leases: Any, session: int, epoch: int) -> None:
    now = time.time()
    for first in range(0, _CANARIES, 1000):
        some = [_outcome(number, now) for number in range(first, first + 1000)]
        await leases.commit_runs(session, {_SHARD: some}, {_SHARD: epoch}, {})


def _outcome(number: int, now: float) -> Outcome:
    fault = _FAULT if number % _FAILING == 0 else None
    started = now - _EVERY + number * _EVERY / _CANARIES
    return Outcome(
        run_id=f"{number:08x}",
        canary=f"canary-{number}",
        target=f"t{number % 20}",
        provider="p",
        kind=OutcomeKind.FAILED if fault else OutcomeKind.OK,
        scheduled=started,
        started=started,
        duration=0.8,
        fault=fault,
        attempts=(Attempt(number=1, route="primary", started=started, duration=0.8, fault=fault, chunks=12),),
        time_to_first_token=0.3,
        max_gap=0.1,
        usage=Usage(input_tokens=20, output_tokens=3),
        trace_id=f"{number:032x}",
        replica=f"pod-{number % 3}",
    )
