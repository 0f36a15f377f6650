"""Measure the statuses of 1,000 canaries that run every 30 s, with a day of history, and 50 readers of their events."""

import asyncio
import gc
import multiprocessing
import resource
import statistics
import time
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, cast

import msgspec

from bench.table import Row
from streamcanary.canary.status.statuses import CanaryStatuses
from streamcanary.model.alerts.status_snapshot import StatusSnapshot
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from streamcanary.model.statistics.rollup import Rollup, RunCounts, RunDetails, period_start
from streamcanary.store.config import StoreConfig
from streamcanary.store.opening import open_store
from streamcanary.store.tables import history, rollups
from streamcanary.web.api.canaries import CanaryPage
from streamcanary.web.api.endpoints import endpoint_routes
from streamcanary.web.api.event_feed import EventSource
from streamcanary.web.api.events import EventHub, event_endpoints
from streamcanary.web.authorization import Authorizer
from streamcanary.web.config import WebConfig
from streamcanary.web.web_server import WebServer

_CANARIES, _MANY, _EVERY = 1000, 10_000, 30.0
_RECENT = 60  # runs of each canary in the store
_ROUNDS = 100
_SUBSCRIBERS = 50
_SECONDS = 10.0  # of a measurement of events


def rows() -> list[Row]:
    """Run all measurements."""
    with TemporaryDirectory() as folder:
        return [*asyncio.run(_measure(Path(folder))), *asyncio.run(_measure_events()), *_measure_memory()]


async def _measure(folder: Path) -> list[Row]:
    clock = SystemClock()
    store = open_store(StoreConfig(path=folder / "status.db", keep=40 * 86_400.0), clock, timeout=120)
    now = clock.time()
    await store.write(lambda connection: _fill(connection, now))
    async with CanaryStatuses(_canaries(_CANARIES), instance="bench", clock=clock) as statuses:
        begun, cpu = time.perf_counter(), time.process_time()
        statuses.load(store)
        while any(status.month is None for status in statuses.statuses()):
            await asyncio.sleep(0.1)
        loading, spent = time.perf_counter() - begun, time.process_time() - cpu
        assert all(len(each.hours) >= 23 and len(each.recent_runs) == _RECENT for each in statuses.statuses())
        observing = _observing_time(statuses, now)
        seconds = []
        random = Random(0)  # noqa: S311 - a simulation
        for number in range(_ROUNDS):
            for each in random.sample(range(_CANARIES), round(_CANARIES / _EVERY)):
                statuses.observe(_outcome(each, clock.time(), number, random))
            begun = time.process_time()
            page = CanaryPage(canaries=list(statuses.statuses()), total=_CANARIES)
            size = len(msgspec.json.encode(page))
            statuses.summary()
            seconds.append(time.process_time() - begun)
    await store.close()
    p95 = statistics.quantiles(seconds, n=20)[-1]
    return [
        Row(f"statuses: load {_CANARIES:,} canaries with a day of history", f"{loading:.1f} s, {spent:.1f} s of CPU"),
        Row("statuses: observe a run", f"{observing * 1e6:.1f} µs", "20 µs"),
        Row(f"statuses: all {_CANARIES:,} as JSON, {size / 1e6:.1f} MB, p95", f"{p95 * 1000:.0f} ms of CPU", "100 ms"),
    ]


def _observing_time(statuses: CanaryStatuses, now: float) -> float:
    """Return the seconds of CPU for each run."""
    random = Random(1)  # noqa: S311 - a simulation
    outcomes = [_outcome(number % _CANARIES, now + number / 100, number, random) for number in range(20_000)]
    begun = time.process_time()
    for outcome in outcomes:
        statuses.observe(outcome)
    return (time.process_time() - begun) / len(outcomes)


async def _measure_events() -> list[Row]:
    """Let canaries run without subscribers and with 50, and compare the CPU time of this process."""
    statuses = CanaryStatuses(_canaries(_CANARIES), instance="bench", clock=SystemClock())
    hub = EventHub(EventSource(statuses, StatusSnapshot))
    async with _serving(hub) as (host, port):
        alone = await _run_canaries(statuses)
        context = multiprocessing.get_context("spawn")
        received = context.Queue()
        readers = context.Process(target=_read, args=(host, port, received))
        readers.start()
        while hub.subscriber_count < _SUBSCRIBERS:
            await asyncio.sleep(0.1)
        with_readers = await _run_canaries(statuses)
        assert hub.subscriber_count == _SUBSCRIBERS
    total = await asyncio.to_thread(received.get)
    readers.join()
    return [
        Row(
            f"events: {_SUBSCRIBERS} readers, {total / _SUBSCRIBERS / _SECONDS / 1000:.0f} kB/s each",
            f"{100 * (with_readers - alone):.1f} % of a core",
            "5 %",
        )
    ]


@asynccontextmanager
async def _serving(hub: EventHub) -> AsyncIterator[tuple[str, int]]:
    config = WebConfig(port=0)
    async with WebServer(config, endpoint_routes(event_endpoints(hub), Authorizer(config))) as site, hub:
        yield cast("tuple[str, int]", site.address)


async def _run_canaries(statuses: CanaryStatuses) -> float:
    """Let each canary run every 30 s; return the part of a core that this process used."""
    random = Random(2)  # noqa: S311 - a simulation
    begun, cpu = time.perf_counter(), time.process_time()
    number = 0
    while (elapsed := time.perf_counter() - begun) < _SECONDS:
        while number < elapsed * _CANARIES / _EVERY:
            statuses.observe(_outcome(number % _CANARIES, time.time(), number, random))
            number += 1
        await asyncio.sleep(0.02)
    return (time.process_time() - cpu) / elapsed


def _read(host: str, port: int, received: Any) -> None:
    """Read events with 50 connections until the server ends them; in another process."""

    async def read() -> int:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        size = 0
        while data := await reader.read(65_536):
            size += len(data)
        writer.close()
        return size

    async def read_all() -> int:
        return sum(await asyncio.gather(*(read() for _ in range(_SUBSCRIBERS))))

    received.put(asyncio.run(read_all()))


def _measure_memory() -> Iterable[Row]:
    """Return the memory of full statuses, and of those of ten times as many canaries, each in a new process."""
    for count, *limit in ((_CANARIES,), (_MANY, "60 MB")):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            runs, megabytes = process.submit(_memory_of, count).result()
        yield Row(
            f"statuses: memory of {count:,} canaries with {runs:,} recent runs and a day of hours",
            f"{megabytes:.0f} MB",
            *limit,
        )


def _memory_of(count: int) -> tuple[int, float]:
    """Return the number of recent runs, and the megabytes that they, a day of hours and the statuses take."""
    before = _resident()
    statuses = CanaryStatuses(_canaries(count), instance="bench", clock=SystemClock())
    random, now = Random(3), time.time()  # noqa: S311 - a simulation
    for number in range(120_000):
        statuses.observe(_outcome(number % count, now - (120_000 - number) / 100, number, random))
    asyncio.run(_read_hours(statuses, count))
    kept = sum(len(status.recent_runs) for status in statuses.statuses())
    gc.collect()
    return kept, _resident() - before


async def _read_hours(statuses: CanaryStatuses, count: int) -> None:
    """Let ``statuses`` read a day of hours of all canaries, as from a store that has no runs."""
    async with statuses:
        statuses.load(_DayOfHours())
        while statuses.find(_name(count - 1)).month is None:  # type: ignore[union-attr]  # it is configured
            await asyncio.sleep(0.1)
        assert len(statuses.find(_name(0)).hours) == 24  # type: ignore[union-attr]


class _DayOfHours:
    """The rollups of canaries with a day of runs: each hour has the same."""

    def __init__(self) -> None:
        random = Random(4)  # noqa: S311 - a simulation
        self._counts, self._details = RunCounts(), RunDetails()
        for number in range(120):
            outcome = _outcome(0, number * _EVERY, number, random)
            self._counts.add(outcome)
            self._details.add(outcome)

    async def sum_counts(self, starts: Any, canaries: Any = None) -> dict[str, tuple[RunCounts, ...]]:
        return {name: (self._counts,) * len(starts) for name in canaries.values()}

    async def read_rollups(self, since: float, canaries: Any) -> list[Rollup]:
        first, end = period_start(since), period_start(time.time())
        return [
            Rollup(canary=name, started=started, length=3600, counts=self._counts, details=self._details)
            for name in canaries.values()
            for started in range(first, end, 3600)
        ]

    async def first_periods(self, canaries: Any) -> dict[str, int]:
        return {name: period_start(time.time()) - 86_400 for name in canaries.values()}

    async def last_runs_of(self, canaries: Any, limit: int) -> dict[str, list[Outcome]]:
        return {}

    async def state_starts(self, canaries: Any, limit: int) -> list[float | None]:
        return [None] * len(canaries)


def _fill(connection: Any, now: float) -> None:
    """Record the last runs of each canary, and a day of rollups: those of one canary, copied for the others."""
    random = Random(0)  # noqa: S311 - a simulation
    start = period_start(now) - 24 * 3600
    runs = [_outcome(0, start + number * _EVERY, number, random) for number in range(int((now - start) / _EVERY))]
    rollups.add_runs(connection, runs)
    for table in ("rollups", "rollup_details"):
        columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
        others = ", ".join(columns[1:])
        for canary in range(1, _CANARIES):
            connection.execute(
                f"INSERT INTO {table} SELECT ?, {others} FROM {table} WHERE canary = ?",  # noqa: S608 - fixed names
                (_name(canary), _name(0)),
            )
    for number in range(_RECENT):
        for canary in range(_CANARIES):
            at = now - (_RECENT - number) * _EVERY + canary * _EVERY / _CANARIES
            history.record_run(connection, _outcome(canary, at, number, random))


def _canaries(count: int) -> list[Canary]:
    return [
        Canary(
            name=_name(number),
            target=f"target-{number % 10}",
            provider="openai",
            interval=_EVERY,
            model="gpt-4o-mini",
            labels={"tier": "prod", "team": f"team-{number % 7}"},
        )
        for number in range(count)
    ]


def _outcome(canary: int, started: float, number: int, random: Random) -> Outcome:
    first_token = 0.3 + random.random()
    attempt = Attempt(number=1, route="m", started=started, duration=2.0, time_to_first_token=first_token)
    return Outcome(
        run_id=f"{canary:016x}{number:08x}{random.getrandbits(32):08x}",
        canary=_name(canary),
        target=f"target-{canary % 10}",
        provider="openai",
        kind=OutcomeKind.OK,
        scheduled=started,
        started=started,
        duration=2.0,
        attempts=(attempt,),
        time_to_first_token=first_token,
    )


def _name(number: int) -> str:
    return f"canary-{number}"


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6
