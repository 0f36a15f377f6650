"""Measure the time of a durable commit, and the time to open a full store."""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.table import Row
from streamcanary.model.alerts.row_change import RowChange as LedgerRow
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, Usage
from streamcanary.store import history
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store
from streamcanary.store.opening import open_store

_CANARIES = 20
_COMMITS_EACH = 100
_FULL = 200_000
_FAULT = make_fault(FaultKind.STALLED, Phase.STREAM, "no token for 5 s after 11 chunks", status=200)


def rows() -> list[Row]:
    """Measure commits of one ledger row and one run of two attempts each, and opening a store with 200,000 runs."""
    with TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[Row]:
    alone = await _commits(folder / "alone.db", tasks=1)
    together = await _commits(folder / "together.db", tasks=_CANARIES)
    return [_latency("one at a time", alone), _latency(f"{_CANARIES} at once", together), await _opening(folder)]


async def _commits(path: Path, tasks: int) -> tuple[list[float], float]:
    """Return the seconds of each commit in ascending order, and the seconds of all commits together."""
    store = _open(path)
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
