"""Measure memory growth and leaked resources with many concurrent streams.

The provider is the simulator in another process. Some of the streams are answered, some are cut and retried, some are
abandoned by their callers, and some are cancelled. Each of these ends must release all resources.
"""

import asyncio
import gc
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from bench import telemetry
from bench.rounds import MESSAGES
from bench.table import Row
from streamcanary import AsyncStreamClient, RetryPolicy, StreamClient, StreamFailed
from streamcanary.client.drivers.socket_timer import Watchdog
from streamcanary.simulator import Simulator, Timings

_STREAMS, _SECONDS = 500, 60.0
_THREADS, _THREAD_SECONDS = 100, 30.0
_SETTLED = 10.0  # seconds after which memory is read for the first time
_FEW_EVENTS = 3  # after which some callers abandon the stream
_MODELS = ("sim-ok", "sim-ok", "sim-cut", "sim-ok", "sim-500", "sim-truncated")
_RETRY = RetryPolicy(max_attempts=2, base_delay=0.05, max_delay=0.05)


class OpenResources(NamedTuple):
    """Numbers of open resources."""

    connections: int
    tasks: int
    timers: int
    threads: int


class Soak(NamedTuple):
    """The ends of the streams, resident memory in MB (10⁶ bytes) after ten seconds and at the end, and leaks."""

    ends: Counter[str]
    early: float
    late: float
    leaked: OpenResources


def rows() -> list[Row]:
    """Run the benchmark and return its rows."""
    telemetry.record()
    with provider() as base_url:
        asynchronous = asyncio.run(soak_tasks(base_url, streams=_STREAMS, seconds=_SECONDS))
        blocking = soak_threads(base_url, streams=_THREADS, seconds=_THREAD_SECONDS)
    return [
        *_rows(f"{_STREAMS} streams at once for {_SECONDS:g} s", asynchronous),
        *_rows(f"{_THREADS} threads at once for {_THREAD_SECONDS:g} s", blocking),
    ]


def _rows(what: str, soak: Soak) -> list[Row]:
    ends = ", ".join(f"{count} {end}" for end, count in sorted(soak.ends.items()))
    leaked = ", ".join(f"{count} {name}" for name, count in soak.leaked._asdict().items())
    return [
        Row(f"{what}: how they ended", ends),
        Row(f"{what}: memory after {_SETTLED:g} s", f"{soak.early:.1f} MB"),
        Row(f"{what}: memory in the end", f"{soak.late:.1f} MB", f"{soak.early * 1.1:.1f} MB"),
        Row(f"{what}: left open", leaked, "0 of each"),
    ]


async def soak_tasks(base_url: str, *, streams: int, seconds: float) -> Soak:
    """Send requests from ``streams`` concurrent tasks for ``seconds``."""
    loop, ends = asyncio.get_running_loop(), Counter[str]()
    transport = DefaultAsyncHttpxClient(trust_env=False)
    async with AsyncOpenAI(base_url=base_url, api_key="none", http_client=transport) as sdk:
        client = AsyncStreamClient(sdk, retry=_RETRY, breaker=None)
        await client.complete(model="sim-ok", messages=MESSAGES)  # resources that are created once are no leak
        before = _open(transport, loop)
        until = time.monotonic() + seconds

        async def caller(first: int) -> None:
            for number in islice(cycle(range(len(_MODELS) * 5)), first, None):
                if time.monotonic() >= until:
                    return
                ends[await _ask(client, _MODELS[number % len(_MODELS)], number % 5)] += 1

        async with asyncio.TaskGroup() as tasks:
            for first in range(streams):
                tasks.create_task(caller(first))
            await asyncio.sleep(min(_SETTLED, seconds / 2))
            early = resident()
        late = resident()
        await asyncio.sleep(0.1)  # connections close in the next iteration of the loop
        left = _open(transport, loop)
    return Soak(ends, early, late, _leaked(before, left))


async def _ask(client: AsyncStreamClient, model: str, manner: int) -> str:
    """Read one stream to its end, or abandon it (``manner`` 0), or be cancelled (1); return how it ended."""
    try:
        async with asyncio.timeout(0.15 if manner == 1 else None):
            async with client.stream(model=model, messages=MESSAGES) as stream:
                received = 0
                async for _ in stream:
                    received += 1
                    if manner == 0 and received == _FEW_EVENTS:
                        return "left"
    except StreamFailed:
        return "failed"
    except TimeoutError:
        return "cancelled"
    return "answered"


def soak_threads(base_url: str, *, streams: int, seconds: float) -> Soak:
    """Send requests from ``streams`` concurrent threads for ``seconds``."""
    ends, counting = Counter[str](), threading.Lock()
    transport = DefaultHttpxClient(trust_env=False)
    with OpenAI(base_url=base_url, api_key="none", http_client=transport) as sdk:
        client = StreamClient(sdk, retry=_RETRY, breaker=None)
        client.complete(model="sim-ok", messages=MESSAGES)
        before = _open(transport)
        until = time.monotonic() + seconds

        def caller(first: int) -> None:
            for number in islice(cycle(range(len(_MODELS) * 5)), first, None):
                if time.monotonic() >= until:
                    return
                end = _ask_blocking(client, _MODELS[number % len(_MODELS)], number % 5)
                with counting:
                    ends[end] += 1

        threads = [threading.Thread(target=caller, args=(first,)) for first in range(streams)]
        for thread in threads:
            thread.start()
        time.sleep(min(_SETTLED, seconds / 2))
        early = resident()
        for thread in threads:
            thread.join()
        late = resident()
        left = _open(transport)
    return Soak(ends, early, late, _leaked(before, left))


def _ask_blocking(client: StreamClient, model: str, manner: int) -> str:
    try:
        with client.stream(model=model, messages=MESSAGES) as stream:
            for received, _ in enumerate(stream, start=1):
                if manner == 0 and received == _FEW_EVENTS:
                    return "left"
    except StreamFailed:
        return "failed"
    return "answered"


def _open(transport: Any, loop: asyncio.AbstractEventLoop | None = None) -> OpenResources:
    """Count what is open now: connections in use, tasks, timers that will fire or watches on sockets, threads."""
    pool = transport._transport._pool
    timers = Watchdog.open_timer_count() if loop is None else sum(not timer.cancelled() for timer in loop._scheduled)  # type: ignore[attr-defined]
    return OpenResources(
        connections=sum(not connection.is_idle() for connection in pool.connections),
        tasks=0 if loop is None else len(asyncio.all_tasks(loop)),
        timers=timers,
        threads=threading.active_count(),
    )


def _leaked(before: OpenResources, after: OpenResources) -> OpenResources:
    return OpenResources(*(max(0, now - then) for now, then in zip(after, before, strict=True)))


def resident() -> float:
    """Return the resident memory of this process in MB (10⁶ bytes), after a garbage collection."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def provider() -> Iterator[str]:
    """Yield the base URL of a simulator in a separate process."""
    context = multiprocessing.get_context("spawn")
    parent_end, child_end = context.Pipe()
    process = context.Process(target=_simulate, args=(child_end,), daemon=True)
    process.start()
    try:
        if not parent_end.poll(30):
            raise RuntimeError("the simulator did not start within 30 s")
        yield parent_end.recv()
    finally:
        process.terminate()
        process.join(5)


def _simulate(pipe: Connection) -> None:
    async def serve() -> None:
        async with Simulator(timings=Timings(first_token=0.1, chunk_gap=0.1)) as simulator:
            pipe.send(simulator.base_url)
            await asyncio.Event().wait()

    asyncio.run(serve())
