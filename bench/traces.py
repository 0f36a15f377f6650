"""Measure what a traced run costs more than an untraced one, and the memory of the kept runs of 10,000 canaries.

Each way of tracing runs in a process of its own, ``python -m bench.traces WAY URL ENDPOINT``, which prints the CPU time
of a run. Simulator and OTLP endpoint are in the process of the benchmark, and do not count.
"""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime

from bench.table import Row
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.run_trace import RunSummary, RunTrace, TraceSpan
from streamcanary.simulator import Simulator, Timings
from streamcanary.telemetry.config import TelemetryConfig
from streamcanary.telemetry.providers import Telemetry
from streamcanary.telemetry.runs.store import RunStore

_RUNS = 300
_WARM_UP = 50
_ROUNDS = 3
_CANARIES = 10_000
_BUDGETS = {"exported": "0.6 ms"}
_PHASES = ("dns", "connect", "tls", "headers")
_WAYS = ("untraced", "kept", "exported", "with content")


def rows() -> list[Row]:
    """Run each way of tracing in turn, three times, and return the rows with the least time of each."""
    seconds = asyncio.run(_measure_all())
    plain = seconds["untraced"]
    return [
        Row("CPU of an untraced run", f"{plain * 1e3:.2f} ms"),
        *(
            Row(f"more CPU of a run, {way}", f"{(seconds[way] - plain) * 1e3:.2f} ms", _BUDGETS.get(way, ""))
            for way in _WAYS[1:]
        ),
        *_memory(),
    ]


async def _measure_all() -> dict[str, float]:
    server = await asyncio.start_server(_answer_exports, "127.0.0.1", 0)
    async with server, Simulator(timings=Timings(first_token=0.0, chunk_gap=0.0)) as simulator:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        rounds = [{way: await _measure_way(way, simulator.base_url, endpoint) for way in _WAYS} for _ in range(_ROUNDS)]
    return {way: min(each[way] for each in rounds) for way in _WAYS}


async def _measure_way(way: str, url: str, endpoint: str) -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.traces", way, url, endpoint, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    return float(output)


async def _answer_exports(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept every export, as a Collector does."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _run(way: str, url: str, endpoint: str) -> float:
    """Return the seconds of CPU time of one run."""
    section: dict[str, object] = {"prometheus": False}
    if way in ("exported", "with content"):
        section["otlp"] = {"endpoint": endpoint, "signals": ["traces"]}
    telemetry = Telemetry(environ={}, runs=RunStore())
    if way != "untraced":
        telemetry.prepare(TelemetryConfig.model_validate(section))
        telemetry.apply()
    clock = SystemClock()
    target = TargetSpec.model_validate({"base_url": url, "api_key": "none"})
    canary = CanarySpec.model_validate({"target": "sim", "model": "sim-ok", "every": "30s", "connection": "reuse"})
    runners = CanaryRunners({"sim": target}, {"chat": canary}, clock=clock, capture_content=way == "with content")
    async with runners:
        run = runners.by_name["chat"]
        for _ in range(_WARM_UP):
            await run(clock.time())
        began = time.process_time()
        for _ in range(_RUNS):
            await run(clock.time())
        if telemetry.tracer_provider is not None:
            telemetry.tracer_provider.force_flush()
        return (time.process_time() - began) / _RUNS


def _memory() -> list[Row]:
    """Return the memory of kept runs, by their own count: the last good one of each canary, then failures of all."""
    store = RunStore()
    for number in range(_CANARIES):
        store.add(_trace(number, "ok"))
    good = store.size
    for number in range(_CANARIES, 4 * _CANARIES):
        store.add(_trace(number, "failed"))
    last = {run.canary for run in store.list_runs(outcomes=("failed",), limit=len(store)).runs}
    return [
        Row(f"memory of the last good runs of {_CANARIES:,} canaries", f"{good / 2**20:.0f} MiB", "32 MiB"),
        Row(f"the same and their failures; {len(last):,} canaries have one", f"{store.size / 2**20:.0f} MiB", "32 MiB"),
    ]


def _trace(number: int, outcome: str) -> RunTrace:
    """Return a run as those of the benchmark are."""
    phases = {f"streamcanary.phase.{name}.duration": 0.012345 + number / 1e6 for name in _PHASES}
    attempt = TraceSpan(
        name="POST",
        span_id=f"{number * 7919:016x}",
        offset=0.001,
        duration=0.5,
        attributes={
            **phases,
            "http.request.method": "POST",
            "url.full": "https://api.openai.com/v1/chat/completions",
            "http.response.header.x-request-id": [f"req_{number * 104729:032x}"],
            "http.response.status_code": 200,
            "server.address": "api.openai.com",
            "server.port": 443,
            "streamcanary.route": "gpt-4o-mini",
        },
    )
    call = TraceSpan(
        name="chat gpt-4o-mini",
        span_id=f"{number * 7927:016x}",
        offset=0.001,
        duration=0.5,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.id": f"chatcmpl-{number * 15485863:024x}",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": 20,
            "gen_ai.usage.output_tokens": 5,
            "streamcanary.attempts": 1,
            "streamcanary.chunks": 9,
        },
        children=[attempt],
    )
    root = TraceSpan(name="streamcanary.run", span_id=f"{number:016x}", offset=0.0, duration=0.5, children=[call])
    summary = RunSummary(
        run_id=f"{number * 32452843:032x}",
        trace_id=f"{number * 49979687:032x}",
        canary=f"canary-{number % _CANARIES}",
        target="openai",
        outcome=outcome,
        started=datetime.now(UTC),
        duration=0.5,
        attempts=1,
        message="" if outcome == "ok" else "stalled: no further token within 5 s",
    )
    return RunTrace(run=summary, root=root)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(*sys.argv[1:]))))
