"""Measure the time and the CPU of a durable commit in SQLite and PostgreSQL, and the time to open a full store."""

import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.table import Row
from streamcanary.model.alerts.row_change import RowChange as LedgerRow
from streamcanary.model.clock import SystemClock
from streamcanary.model.config_types.secret import Secret
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, Usage
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store
from streamcanary.store.opening import open_store
from streamcanary.store.tables import history

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.postgresql.cluster import Cluster  # type: ignore[import-not-found]

_CANARIES = 20
_COMMITS_EACH = 100
_FULL = 200_000
_RUNS_PER_BATCH = 40  # of 10,000 canaries in a minute, in a quarter of a second
_BATCHES = 50
_FAULT = make_fault(FaultKind.STALLED, Phase.STREAM, "no token for 5 s after 11 chunks", status=200)


def rows() -> list[Row]:
    """Measure commits of one ledger row and one run of two attempts each, and opening a store with 200,000 runs."""
    with TemporaryDirectory() as folder:
        return [*asyncio.run(_measure(Path(folder))), *_postgresql_rows()]


async def _measure(folder: Path) -> list[Row]:
    alone = await _commits(StoreConfig(path=folder / "alone.db"), tasks=1)
    together = await _commits(StoreConfig(path=folder / "together.db"), tasks=_CANARIES)
    return [
        _latency("one at a time", alone),
        _latency(f"{_CANARIES} at once", together),
        await _batches("SQLite", StoreConfig(path=folder / "batches.db")),
        await _opening(folder),
    ]


def _postgresql_rows() -> list[Row]:
    """Measure the same commits in a server on this machine; its disk is synced at each."""
    with Cluster() as cluster:
        cluster.set(fsync="on")
        with cluster.database() as first, cluster.database() as second:
            alone = asyncio.run(_commits(StoreConfig(url=Secret(first)), tasks=1))
            batches = asyncio.run(_batches("PostgreSQL", StoreConfig(url=Secret(second))))
    return [_latency("one at a time in PostgreSQL", alone), batches]


async def _batches(name: str, config: StoreConfig) -> Row:
    """Measure commits of many runs, as the recorder of a replica makes them, without the CPU of a server."""
    store = open_store(config, SystemClock())
    seconds = cpu = 0.0
    for batch in range(_BATCHES):
        runs = [_outcome(f"canary-{number}", f"{batch}-{number}") for number in range(_RUNS_PER_BATCH)]
        begun, cpu_begun = time.perf_counter(), time.process_time()
        await store.commit([], runs)
        seconds, cpu = seconds + time.perf_counter() - begun, cpu + time.process_time() - cpu_begun
    await store.close()
    each = 1000 * cpu / (_BATCHES * _RUNS_PER_BATCH)
    return Row(
        f"store: commit {_RUNS_PER_BATCH} runs in {name}; CPU of one",
        f"{1000 * seconds / _BATCHES:.1f} ms; {each:.3f} ms",
    )


async def _commits(config: StoreConfig, tasks: int) -> tuple[list[float], float]:
    """Return the seconds of each commit in ascending order, and the seconds of all commits together."""
    store = open_store(config, SystemClock())
    seconds: list[float] = []

    async def commit_each(canary: int) -> None:
        for number in range(_COMMITS_EACH):
            begun = time.perf_counter()
            row = LedgerRow("detectors", f"rule/canary-{canary}", b'{"sum": 1.25, "samples": 40}')
            await store.commit([row], [_outcome(f"canary-{canary}", f"{canary}-{number}")])
            seconds.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(commit_each(canary) for canary in range(tasks)))
    total = time.perf_counter() - begun
    await store.close()
    return sorted(seconds), total


async def _opening(folder: Path) -> Row:
    path = folder / "full.db"
    store = _open(path, timeout=120)
    for first in range(0, _FULL, 20_000):
        outcomes = [_outcome(f"canary-{n % _CANARIES}", str(n)) for n in range(first, first + 20_000)]
        await store.commit([], outcomes)
    await store.close()
    size = path.stat().st_size / 1e6
    begun = time.perf_counter()
    store = _open(path)
    opening = time.perf_counter() - begun
    begun = time.perf_counter()
    await store.read(history.recent_runs)
    reading = time.perf_counter() - begun
    await store.close()
    return Row(
        f"store: open with {_FULL:,} runs ({size:.0f} MB); last 100", f"{opening:.2f} s; {reading * 1000:.1f} ms"
    )


def _latency(how: str, measured: tuple[list[float], float]) -> Row:
    seconds, total = measured
    p50, p99 = (1000 * seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
    return Row(f"store: commit {how}, p50 / p99", f"{p50:.2f} / {p99:.2f} ms, {len(seconds) / total:.0f}/s")


def _open(path: Path, timeout: float = 10.0) -> Store:
    return open_store(StoreConfig(path=path), SystemClock(), timeout=timeout)


def _outcome(canary: str, run_id: str) -> Outcome:
    now = time.time()
    attempt = Attempt(number=1, route="primary", started=now, duration=5.2, fault=_FAULT, chunks=11, request_id="r-1")
    return Outcome(
        run_id=run_id,
        canary=canary,
        target="openai",
        provider="openai",
        kind=OutcomeKind.OK,
        scheduled=now,
        started=now,
        duration=6.5,
        attempts=(attempt, Attempt(number=2, route="primary", started=now, duration=0.9, chunks=12, delay=0.4)),
        time_to_first_token=0.4,
        max_gap=0.05,
        model="gpt-4o-mini",
        finish_reason="stop",
        usage=Usage(input_tokens=20, output_tokens=2),
        trace_id="0af7651916cd43dd8448eb211c80319c",
    )
