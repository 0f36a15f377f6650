"""Measure how a daemon learns for 1,000 canaries from a week of rollups, and what each run adds to its rollup.

The fleet runs every 30 s, so that the store keeps the runs of its last 100 minutes.
"""

import asyncio
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.fleet_history import CANARIES, EVERY, commit_runs, fill_rollups, name_of
from bench.table import Row
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.bindings import Bindings
from streamcanary.alerting.engine.inputs import BaselinesLearned
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.service.baseline_learner import BaselineLearner
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.statistics.rollup import QUARTER_DAY, period_start
from streamcanary.store.config import StoreConfig
from streamcanary.store.opening import open_store

_DAYS = 8
_KEPT_RUNS = 200  # of each canary
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
    store = open_store(StoreConfig(path=folder / "learning.db"), clock, timeout=120)
    adding = await store.write(lambda connection: fill_rollups(connection, now, _DAYS * 24))
    await commit_runs(store, now, _KEPT_RUNS)
    canaries = [
        Canary(name=name_of(number), target=f"target-{number % 10}", provider="openai", interval=EVERY)
        for number in range(CANARIES)
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
        Row(f"learning: {len(found):,} alerts of {CANARIES:,} canaries", f"{spent:.1f} s of CPU in {seconds:.0f} s"),
        Row("learning: memory, over the peak before", f"{memory:.0f} MB, {_peak():.0f} MB in all"),
        Row("rollups: CPU of a run that is added", f"{adding * 1e6:.0f} µs", "40 µs"),
        Row(f"rollups: counts of {CANARIES:,} canaries since three times", f"{sums * 1000:.0f} ms of CPU"),
    ]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
