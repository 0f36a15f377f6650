"""Measure the status page of a running daemon with 1,000 canaries every 30 s, after a day.

The daemon probes a simulator meanwhile. Open pages cost what the daemon takes of a core with them, less that without.
"""

import asyncio
import gzip
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from bench.fleet_history import CANARIES, EVERY, commit_runs, fill_rollups, name_of
from bench.table import Row
from streamcanary.model.clock import SystemClock
from streamcanary.model.statistics.rollup import period_start
from streamcanary.store.config import StoreConfig
from streamcanary.store.opening import open_store

_KEPT_RUNS = 100  # of each canary; the page shows 60
_REQUESTS = 100
_PAGES = 50
_SECONDS = 15.0
_SIMULATOR = """
import asyncio, sys
from streamcanary.simulator import Simulator
async def main():
    async with Simulator() as simulator:
        print(simulator.base_url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


def rows() -> list[Row]:
    """Start a daemon on a filled store, and measure the overview and live pages."""
    with TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[Row]:
    await _fill(folder / "store.db")
    async with AsyncExitStack() as stack:
        simulator = await _start(stack, "-c", _SIMULATOR, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        assert simulator.stdout is not None
        provider = (await simulator.stdout.readline()).decode().strip()
        path = folder / "streamcanary.yaml"
        path.write_text(json.dumps(_config(provider)))  # JSON is YAML
        log = folder / "log"
        with log.open("wb") as stderr:
            daemon = await _start(stack, "-m", "streamcanary", "run", "-c", str(path), stderr=stderr)
        port = await asyncio.to_thread(_port, log)
        await asyncio.sleep(EVERY)  # each canary runs once
        times, size, raw = await _overview(port)
        alone = await _cpu_of(daemon.pid)
        received = await _open_pages(stack, port)
        live = await _cpu_of(daemon.pid)
        sent = sum(received) / len(received)
    p50, p95 = (1000 * times[int(len(times) * share)] for share in (0.5, 0.95))
    return [
        Row(f"overview of {CANARIES:,} canaries, p50 / p95", f"{p50:.0f} / {p95:.0f} ms", "100 ms"),
        Row("overview: HTML, compressed / as it is", f"{size / 1000:.0f} / {raw / 1000:.0f} kB", "100 kB"),
        Row(f"{_PAGES} live pages: CPU of a core, beyond {alone:.0%} without", f"{live - alone:.1%}", "5 %"),
        Row("a live page receives, as it is", f"{sent / _SECONDS / 1000:.1f} kB/s"),
    ]


async def _fill(path: Path) -> None:
    clock = SystemClock()
    store = open_store(StoreConfig(path=path), clock, timeout=120)
    hour = period_start(clock.time())
    await store.write(lambda connection: fill_rollups(connection, hour, 24))
    await commit_runs(store, clock.time() - _KEPT_RUNS * EVERY, _KEPT_RUNS)
    await store.close()


async def _start(stack: AsyncExitStack, *arguments: str, **streams: Any) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, **streams)

    async def end() -> None:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 30)

    stack.push_async_callback(end)
    return process


def _port(log: Path) -> int:
    """Wait for the port in the log of the daemon."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if '"web server started"' in line:
                port: int = json.loads(line)["port"]
                return port
        time.sleep(0.1)
    raise TimeoutError(f"the daemon has not started:\n{log.read_text()[-2000:]}")


async def _overview(port: int) -> tuple[Sequence[float], int, int]:
    """Return the seconds of each request in ascending order, and the bytes of a response, compressed and not."""
    seconds, content = [], b""
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
        for _ in range(_REQUESTS):
            begun = time.perf_counter()
            async with http.stream("GET", f"http://127.0.0.1:{port}/", headers={"Accept-Encoding": "gzip"}) as response:
                content = b"".join([part async for part in response.aiter_raw()])
            seconds.append(time.perf_counter() - begun)
            response.raise_for_status()
            await asyncio.sleep(0.05)
    return sorted(seconds), len(content), len(gzip.decompress(content))


async def _open_pages(stack: AsyncExitStack, port: int) -> list[int]:
    """Open the event streams of live overviews; return the bytes that each has received, which go on to grow."""
    received = [0] * _PAGES
    head = f"GET /api/v1/events?html=overview HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"

    async def read(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        try:
            while data := await reader.read(65536):
                received[number] += len(data)
        finally:
            writer.close()
        raise ConnectionError("the daemon has closed an event stream")

    tasks = [asyncio.create_task(read(number)) for number in range(_PAGES)]
    stack.callback(lambda: [task.cancel() for task in tasks])
    async with asyncio.timeout(30):
        while not all(received):
            await asyncio.sleep(0.1)
    assert not any(task.done() for task in tasks)
    received[:] = [0] * _PAGES
    return received


async def _cpu_of(pid: int) -> float:
    """Return the share of a core that a process takes."""
    before = _cpu_seconds(pid)
    await asyncio.sleep(_SECONDS)
    return (_cpu_seconds(pid) - before) / _SECONDS


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _config(provider: str) -> dict[str, Any]:
    canaries = {
        name_of(number): {
            "target": f"target-{number % 10}",
            "model": "sim-500" if number < 7 else "sim-ok",
            "every": f"{EVERY:g}s",
        }
        for number in range(CANARIES)
    }
    target = {"base_url": provider, "api_key": "none", "provider": "openai", "price": "free"}
    return {
        "targets": {f"target-{number}": target for number in range(10)},
        "canaries": canaries,
        "store": {"path": "store.db"},
        "web": {"port": 0},
    }
