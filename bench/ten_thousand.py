"""Measure a daemon with 10,000 canaries, each every minute, from its first run on: CPU, memory, and lag.

The daemon is ``streamcanary run``, compiled as in the image, with spans, ``/metrics``, history and three rules. The
simulator is another process. The lag of a run is the time from when it was due to its start, as the history has it.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from bench.table import Row
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.store.config import StoreConfig
from streamcanary.store.recorded_runs import read_runs

CANARIES, _EVERY = 10_000, 60.0
_SECONDS = 90.0  # from the first run: the first minute, and half a minute after it
_SCRAPE_INTERVAL = 15.0  # seconds
_START_TIMEOUT = 180.0  # seconds until the first run
_AS_IN_THE_IMAGE = ("-OO", "-X", "no_debug_ranges")  # as tools/image/build.sh compiles
_DAEMON = """
import sys
sys.modules["rich"] = None  # a tool of developers; structlog imports it where it is installed, which takes 4 MB
from streamcanary.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
_SIMULATOR = """
import asyncio, sys
from streamcanary.simulator import Simulator
async def main():
    async with Simulator() as simulator:
        print(simulator.base_url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""
_RULES: dict[str, Any] = {
    "LLMErrorSpike": {
        "measure": "errors",
        "detector": {"type": "spike", "normal": "2%", "spike": "30%", "false_pages": "1 per 365d"},
    },
    "LLMSlow": {
        "measure": "first_token",
        "limit": "2s",
        "detector": {"type": "ratio", "over": "20 runs", "threshold": "50%"},
    },
    "LLMDown": {"measure": "errors", "detector": {"type": "consecutive", "failures": 3}},
}


class Usage(NamedTuple):
    """CPU time in seconds and resident memory in MB (10⁶ bytes) of a process at a ``time`` in monotonic seconds."""

    time: float
    cpu: float
    resident: float


class Fleet(NamedTuple):
    """What was measured: ``usages`` from the first run on, once a second, and the runs of the history."""

    ready_after: float
    usages: Sequence[Usage]
    runs: Sequence[Outcome]


def rows() -> list[Row]:
    """Run the benchmark, which takes 100 s, and return its rows."""
    with tempfile.TemporaryDirectory() as folder:
        return _rows(asyncio.run(measure(Path(folder), canaries=CANARIES, seconds=_SECONDS)))


def _rows(fleet: Fleet) -> list[Row]:
    what = f"{CANARIES:,} canaries each {_EVERY:g} s"
    first_due = min(run.scheduled for run in fleet.runs)
    first_minute = [run.started - run.scheduled for run in fleet.runs if run.started < first_due + 60]
    after_it = [run.started - run.scheduled for run in fleet.runs if run.started >= first_due + 60]
    ends = {kind: len(list(runs)) for kind, runs in groupby(sorted(run.kind.value for run in fleet.runs))}
    made = sum(run.kind is not OutcomeKind.SKIPPED for run in fleet.runs)
    by_second = [len(list(runs)) for _, runs in groupby(sorted(int(run.started) for run in fleet.runs))]
    first, last = fleet.usages[0], fleet.usages[-1]
    cores = (last.cpu - first.cpu) / (last.time - first.time)
    return [
        Row(f"{what}: start to first run", f"{fleet.ready_after:.1f} s"),
        Row(f"{what}: CPU", f"{cores:.2f} cores", "0.45 cores"),
        Row(f"{what}: CPU for each run", f"{1000 * (last.cpu - first.cpu) / made:.2f} ms", "2.5 ms"),
        Row(f"{what}: lag in the first minute, p50 / p99", _percentiles(first_minute), "p99 250 ms"),
        Row(f"{what}: lag after it, p50 / p99", _percentiles(after_it), "p99 250 ms"),
        Row(f"{what}: runs a second, at most", f"{max(by_second)}", f"{2 * CANARIES / _EVERY:.0f}"),
        Row(f"{what}: runs", ", ".join(f"{count} {kind}" for kind, count in ends.items()), "all ok"),
        Row(f"{what}: resident memory, at most", f"{max(usage.resident for usage in fleet.usages):.0f} MB", "250 MB"),
    ]


def _percentiles(lags: list[float]) -> str:
    if not lags:
        return "no runs"
    lags.sort()
    p50, p99 = (1000 * lags[int(len(lags) * share)] for share in (0.5, 0.99))
    return f"{p50:.0f} / {p99:.0f} ms"


async def measure(folder: Path, *, canaries: int, seconds: float) -> Fleet:
    """Run a daemon with ``canaries`` for ``seconds`` after its first run."""
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    store = folder / "store.db"
    async with AsyncExitStack() as stack:
        simulator = await _start(
            stack, "-c", _SIMULATOR, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environ
        )
        assert simulator.stdout is not None
        provider = (await simulator.stdout.readline()).decode().strip()
        config = folder / "streamcanary.yaml"
        config.write_text(json.dumps(_config(provider, store, canaries)))  # JSON is YAML
        began = time.monotonic()
        with (folder / "log").open("wb") as log:
            daemon = await _start(
                stack, *_AS_IN_THE_IMAGE, "-c", _DAEMON, "run", "-c", str(config), stderr=log, env=environ
            )
        port = await _port(folder / "log")
        ready_after = time.monotonic() - began
        usages = await _watch(daemon.pid, port, seconds)
    return Fleet(ready_after, usages, [run for run in read_runs(StoreConfig(path=store)) if isinstance(run, Outcome)])


async def _watch(pid: int, port: int, seconds: float) -> list[Usage]:
    """Return what the daemon uses, each second, while ``/metrics`` is scraped."""
    usages = [_usage(pid)]
    scrapes = asyncio.create_task(_scrape(port))
    try:
        while usages[-1].time < usages[0].time + seconds:
            await asyncio.sleep(1)
            usages.append(_usage(pid))
    finally:
        scrapes.cancel()
        await asyncio.gather(scrapes, return_exceptions=True)
    return usages


async def _scrape(port: int) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
        while True:
            await asyncio.sleep(_SCRAPE_INTERVAL)
            (await http.get(f"http://127.0.0.1:{port}/metrics")).raise_for_status()


async def _start(stack: AsyncExitStack, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, **options)
    stack.push_async_callback(_stop, process)
    return process


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 15)


async def _port(log: Path) -> int:
    """Return the port of the daemon, once it has started."""
    async with asyncio.timeout(_START_TIMEOUT):
        while (port := _logged_port(log)) is None:
            await asyncio.sleep(0.1)
    return port


def _logged_port(log: Path) -> int | None:
    for line in log.read_text().splitlines():
        event: Mapping[str, Any] = json.loads(line) if line.startswith("{") else {}
        if "port" in event:
            return int(event["port"])
    return None


def _usage(pid: int) -> Usage:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])  # in user mode, and in the kernel
    resident = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return Usage(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), resident)


def _config(base_url: str, store: Path, canaries: int) -> dict[str, Any]:
    canary = {"target": "sim", "model": "sim-ok", "every": f"{_EVERY:g}s"}
    return {
        "targets": {"sim": {"base_url": base_url, "api_key": "none"}},
        "canaries": {f"canary-{number}": canary for number in range(canaries)},
        "alerts": {"rules": _RULES, "receivers": {"prom": {"type": "alertmanager", "urls": ["http://127.0.0.1:9"]}}},
        "store": {"path": str(store)},
        "web": {"port": 0},
    }
