"""Measure how a daemon learns for 1,000 canaries from a week of rollups, and what each run adds to its rollup.

The fleet runs every 30 s, so that the store keeps the runs of its last 100 minutes. Rollups of five canaries are made
from their runs, and copied for the others.
"""

import asyncio
import math
import resource
import time
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from bench.table import Row
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.bindings import Bindings
from streamcanary.alerting.engine.inputs import BaselinesLearned
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.service.baseline_learner import BaselineLearner
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, OutputSpeed
from streamcanary.model.rollup import QUARTER_DAY, period_start
from streamcanary.store import rollups
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store

_CANARIES, _EVERY, _DAYS = 1000, 30.0, 8
_MODELS = 5  # canaries whose rollups are made from runs
_KEPT_RUNS = 200  # of each canary
_FAULT = make_fault(FaultKind.OVERLOADED, Phase.HEADERS, "busy", status=503)
_RULES: dict[str, dict[str, Any]] = {
    "Errors": {"detector": {"type": "spike", "normal": "learned"}},
    "FirstAttempts": {"measure": "first_attempts", "detector": {"type": "spike", "normal": "learned"}},
    "Pooled": {"detector": {"type": "spike", "normal": "learned"}, "per": "target"},
    "Slower": {"measure": "first_token", "detector": {"type": "shift"}},
    "Speed": {"measure": "tokens_per_second", "detector": {"type": "shift"}},
}


def rows() -> list[Row]:
    """Fill a store, and learn once for five rules."""
    with TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[Row]:
    clock = SystemClock()
    now = period_start(clock.time(), QUARTER_DAY)
    store = Store.open(StoreConfig(path=folder / "learning.db"), clock, timeout=120)
    adding = await store.write(lambda connection: _fill(connection, now))
    random = Random(0)  # noqa: S311 - a simulation
    numbers = [(canary, number) for number in range(_KEPT_RUNS) for canary in range(_CANARIES)]
    for first in range(0, len(numbers), 5_000):
        some = numbers[first : first + 5_000]
        await store.commit([], [_outcome(canary, number, now, random) for canary, number in some])
    canaries = [
        Canary(name=_name(number), target=f"target-{number % 10}", provider="openai", interval=_EVERY)
        for number in range(_CANARIES)
    ]
    config = AlertsConfig.model_validate({"rules": _RULES})
    bindings = Bindings(config.all_rules, "bench", canaries)
    learned: list[BaselinesLearned] = []

    async def submit(result: BaselinesLearned) -> None:
        learned.append(result)

    learner = BaselineLearner(store, clock, lambda: (bindings, State()), submit)
    before, cpu, begun = _peak(), time.process_time(), time.perf_counter()
    await learner.learn()
    spent, seconds, memory = time.process_time() - cpu, time.perf_counter() - begun, _peak() - before
    begun_sums = time.process_time()
    await store.sum_counts([now - days * 86400 for days in (1, 7, 30)])
    sums = time.process_time() - begun_sums
    await store.close()
    found = [each for each in learned[0].baselines.values() if each is not None]
    return [
        Row(f"learning: {len(found):,} alerts of {_CANARIES:,} canaries", f"{spent:.1f} s of CPU in {seconds:.0f} s"),
        Row("learning: memory, over the peak before", f"{memory:.0f} MB, {_peak():.0f} MB in all"),
        Row("rollups: CPU of a run that is added", f"{adding * 1e6:.0f} µs", "40 µs"),
        Row(f"rollups: counts of {_CANARIES:,} canaries since three times", f"{sums * 1000:.0f} ms of CPU"),
    ]


def _fill(connection: Any, now: int) -> float:
    """Make the rollups; return the seconds of CPU for each run."""
    spent, runs = 0.0, 0
    for canary in range(_MODELS):
        random = Random(canary)  # noqa: S311 - a simulation
        for hour in range(_DAYS * 24):
            start = now - (_DAYS * 24 - hour) * 3600
            outcomes = [_outcome(canary, number, start, random) for number in range(int(3600 / _EVERY))]
            for outcome in outcomes:
                begun = time.thread_time()
                rollups.add_runs(connection, [outcome])
                spent += time.thread_time() - begun
            runs += len(outcomes)
    while rollups.prune_rollups(connection, now) >= rollups.MAX_PRUNED_PER_CALL:
        pass
    for canary in range(_MODELS, _CANARIES):
        for table in ("rollups", "rollup_details"):
            columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
            others = ", ".join(columns[1:])
            connection.execute(
                f"INSERT INTO {table} SELECT ?, {others} FROM {table} WHERE canary = ?",  # noqa: S608 - fixed names
                (_name(canary), _name(canary % _MODELS)),
            )
    return spent / runs


def _outcome(canary: int, number: int, start: float, random: Random) -> Outcome:
    failed = random.random() < 0.01
    first_token = 0.5 * math.exp(0.3 * random.gauss(0, 1))
    started = start + number * _EVERY
    fault = _FAULT if failed else None
    attempt = Attempt(number=1, route="m", started=started, duration=2.0, fault=fault)
    return Outcome(
        run_id=f"{canary}-{started}",
        canary=_name(canary),
        target=f"target-{canary % 10}",
        provider="openai",
        kind=OutcomeKind.FAILED if failed else OutcomeKind.OK,
        scheduled=started,
        started=started,
        duration=2.0,
        fault=fault,
        attempts=(attempt,),
        time_to_first_token=None if failed else first_token,
        max_gap=None if failed else first_token / 10,
        output_speed=None if failed else OutputSpeed(tokens_per_second=20 / first_token, seconds=1.5),
    )


def _name(number: int) -> str:
    return f"canary-{number}"


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
