"""Measure the evaluation of five rules on 2,000 canaries, with history, and the delay until an alert is durable.

Two of the rules pool canaries.

Outcomes arrive at the rate of 2,000 canaries with an interval of 30 s. Every 20th canary fails in every other round,
so that alerts fire and resolve while the history of the other canaries is written.
"""

import asyncio
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.table import Row
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import Input, RunFinished, Tick
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service.service import AlertingService
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, Usage
from streamcanary.store.config import StoreConfig
from streamcanary.store.opening import open_store

_CANARIES, _EVERY = 2000, 30.0
_ROUNDS = 3
_FAILING = 20  # every 20th canary fails, in every other round
_FAULT = make_fault(FaultKind.STALLED, Phase.STREAM, "no token for 5 s after 11 chunks", status=200)
_RULES: dict[str, dict[str, Any]] = {
    "Once": {"detector": {"type": "consecutive", "failures": 1}},
    "Spike": {
        "detector": {"type": "spike", "normal": "2%", "spike": "30%", "false_pages": "1 per 365d"},
        "per": ["canary", "target"],
    },
    "Ratio": {"detector": {"type": "ratio", "over": "5m", "threshold": "50%"}, "per": ["target", "all"]},
    "BurnRate": {"detector": {"type": "burn_rate", "objective": "99%"}},
    "Slow": {"measure": "first_token", "limit": "2s", "detector": {"type": "ratio", "over": "20 runs"}},
}


def rows() -> list[Row]:
    """Run all canaries for three rounds in real time, which takes 1.5 minutes."""
    with TemporaryDirectory() as folder:
        return [*asyncio.run(measure(Path(folder), _RULES)), storm()]


async def measure(folder: Path, rules: dict[str, dict[str, Any]]) -> list[Row]:
    """Run all canaries for three rounds in real time with ``rules``, one of which is ``Once``, for the delay."""
    clock = SystemClock()
    store = open_store(StoreConfig(path=folder / "alerting.db"), clock)
    config = AlertsConfig.model_validate({"rules": rules, "group_by": ["alert"]})
    canaries = _fleet()
    alerting = AlertingService(config=config, instance="bench", canaries=canaries, store=store, clock=clock)
    offered: dict[str, float] = {}
    seconds: list[float] = []

    def on_transition(incident: Incident) -> None:
        if incident.rule == "Once":
            seconds.append(time.perf_counter() - offered[incident.subject])

    alerting.on_transition = on_transition
    before = _resident()
    task = asyncio.create_task(alerting.run())
    cpu, begun = time.process_time(), time.perf_counter()
    for number in range(_ROUNDS * _CANARIES):
        await asyncio.sleep(max(0.0, begun + number * _EVERY / _CANARIES - time.perf_counter()))
        which = number % _CANARIES
        name = canaries[which].name
        offered[name] = time.perf_counter()
        alerting.enqueue_outcome(_outcome(name, number, failed=which % _FAILING == 0 and number // _CANARIES % 2 == 0))
    await alerting.drain(30)
    spent = (time.process_time() - cpu) / (time.perf_counter() - begun)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()
    seconds.sort()
    return [
        Row("alerting, 2,000 canaries, 5 rules, 2 pooled: CPU of evaluation, history", f"{spent:.1%} of a core", "10%"),
        Row(
            f"alert durable after its run, p50 / p99 of {len(seconds)}",
            f"{seconds[len(seconds) // 2] * 1e3:.1f} / {seconds[int(len(seconds) * 0.99)] * 1e3:.1f} ms",
            "50 ms",
        ),
        Row("memory that these take, at most", f"{(_resident() - before) / 1e6:.0f} MB"),
    ]


def storm() -> Row:
    """Run the engine through an outage of all canaries, with one notification per alert, without store or network."""
    config = AlertsConfig.model_validate(
        {
            "rules": _RULES,
            "group_by": ["alert", "canary"],
            "receivers": {"pd": {"type": "pagerduty", "routing_key": "0" * 32}},
        }
    )
    engine = Engine(config, "bench", _fleet())
    state, longest = State(), 0.0
    now = begun = time.time()
    for number in range(_ROUNDS * _CANARIES):
        now += _EVERY / _CANARIES
        inputs: list[Input] = [RunFinished(_outcome(f"canary-{number % _CANARIES}", number, failed=True, now=now))]
        if number % 300 == 0:
            inputs.append(Tick())
        for one in inputs:
            start = time.perf_counter()
            state, _ = engine.step(state, one, now)
            longest = max(longest, time.perf_counter() - start)
    count = len(state.notifications)
    return Row(f"longest step while all fail, {count} notifications in {now - begun:.0f} s", f"{longest * 1e3:.0f} ms")


def _resident() -> float:
    """Return the peak resident memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _fleet() -> list[Canary]:
    return [
        Canary(name=f"canary-{number}", target=f"t{number % 20}", provider="p", interval=_EVERY)
        for number in range(_CANARIES)
    ]


def _outcome(canary: str, number: int, *, failed: bool, now: float | None = None) -> Outcome:
    now = time.time() if now is None else now
    fault = _FAULT if failed else None
    return Outcome(
        run_id=f"{number:08x}",
        canary=canary,
        target="t",
        provider="p",
        kind=OutcomeKind.FAILED if failed else OutcomeKind.OK,
        scheduled=now,
        started=now - 0.8,
        duration=0.8,
        fault=fault,
        attempts=(Attempt(number=1, route="primary", started=now, duration=0.8, fault=fault, chunks=12),),
        time_to_first_token=0.3,
        max_gap=0.1,
        usage=Usage(input_tokens=20, output_tokens=3),
        trace_id=f"{number:032x}",
    )
