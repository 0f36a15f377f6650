"""Measure what telemetry costs: CPU of a traced run, and a scrape of ``/metrics`` with 1,000 canaries."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

from opentelemetry import metrics, trace

from bench.counting import counting_server
from bench.otlp_sink import otlp_sink
from bench.rounds import measured
from bench.table import Row
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service.metrics import AlertMetrics
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.telemetry.config import TelemetryConfig
from streamcanary.telemetry.providers import Telemetry
from streamcanary.telemetry.runs.store import RunStore
from streamcanary.telemetry.series_limit import SERIES_PER_CANARY
from streamcanary.web.authorization import Authorizer
from streamcanary.web.config import WebConfig
from streamcanary.web.metrics import metrics_routes
from streamcanary.web.web_server import WebServer

_CANARIES = 1000
_RUNS_BETWEEN_SCRAPES = 250  # as with runs every minute and scrapes every 15 s
_SCRAPES = 9
_CALLS, _ROUNDS = 60, 7
_CLOCK = SystemClock()
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"  # as Prometheus asks


def rows() -> list[Row]:
    """Run the benchmark and return its rows."""
    with counting_server() as base_url, otlp_sink() as endpoint:
        return asyncio.run(_measure(base_url, endpoint))


async def _measure(base_url: str, endpoint: str) -> list[Row]:
    telemetry = Telemetry(expected_series=_CANARIES * SERIES_PER_CANARY, clock=_CLOCK, runs=RunStore())
    telemetry.prepare(TelemetryConfig.model_validate({"otlp": {"endpoint": endpoint}}))
    telemetry.apply()
    async with telemetry:
        return [await _measure_traced_run(base_url), *await _measure_scrapes(base_url, telemetry)]


def _runners(base_url: str, count: int) -> CanaryRunners:
    target = TargetSpec.model_validate({"base_url": base_url, "api_key": "none"})
    spec = CanarySpec.model_validate({"target": "sim", "model": "count-12", "every": "60s", "connection": "reuse"})
    return CanaryRunners({"sim": target}, {f"canary-{number}": spec for number in range(count)}, clock=_CLOCK)


async def _measure_traced_run(base_url: str) -> Row:
    """Measure in alternating rounds, with the CPU of the threads that export."""
    with (
        patch.object(metrics, "get_meter", metrics.NoOpMeterProvider().get_meter),
        patch.object(trace, "get_tracer", trace.NoOpTracerProvider().get_tracer),
    ):
        untraced = _runners(base_url, 1)
    traced = _runners(base_url, 1)
    added: list[float] = []
    async with untraced, traced:
        for number in range(_ROUNDS + 1):
            spent = []
            for runners in (untraced, traced):
                with measured(_CALLS) as seconds:
                    for _ in range(_CALLS):
                        await runners.by_name["canary-0"](_CLOCK.time())
                    if runners is traced:
                        await asyncio.sleep(2.5)  # until the spans are exported
                spent.append(seconds[0])
            if number:
                added.append(spent[1] - spent[0])
    return Row("CPU of a run with traces and metrics above one without", f"{statistics.median(added) * 1000:.2f} ms")


async def _measure_scrapes(base_url: str, telemetry: Telemetry) -> list[Row]:
    assert telemetry.scraper is not None
    config = WebConfig(port=0)
    runners = _runners(base_url, _CANARIES)
    alerts = AlertMetrics(Engine(AlertsConfig(), "bench", runners.canaries), (), _CLOCK)
    async with runners, WebServer(config, metrics_routes(telemetry.scraper, Authorizer(config))) as server:
        assert server.address is not None
        names = list(runners.by_name)
        for run in runners.by_name.values():
            runners.metrics.initialize_series(run.canary)
        telemetry.show_canaries(runners.canaries)
        await _run_all(runners, names)
        rendered: list[float] = []
        fetched: list[float] = []
        cpu: list[float] = []
        lags: list[float] = []
        size = 0
        for number in range(2 * _SCRAPES):
            start = number * _RUNS_BETWEEN_SCRAPES % _CANARIES
            await _run_all(runners, names[start : start + _RUNS_BETWEEN_SCRAPES])
            async with _longest_delay(lags):
                began = time.monotonic()
                if number % 2:
                    size = await _fetch(*server.address)
                    fetched.append(time.monotonic() - began)
                else:
                    before = time.process_time()
                    async for _ in telemetry.scraper.scrape(_OPENMETRICS)[1]:
                        pass  # as the response is written
                    cpu.append(time.process_time() - before)
                    rendered.append(time.monotonic() - began)
        del alerts
    name = f"/metrics as OpenMetrics, {_CANARIES:,} canaries"
    return [
        Row(f"{name}, {_RUNS_BETWEEN_SCRAPES} runs since the last scrape", _milliseconds(rendered), "50 ms"),
        Row(f"{name}, CPU of that", _milliseconds(cpu), "50 ms"),
        Row(f"{name}, with the transfer of {size / 1e6:.0f} MB", _milliseconds(fetched)),
        Row(f"{name}, longest delay of the event loop", f"{statistics.median(lags) * 1000:.0f} ms"),
    ]


def _milliseconds(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f} ms"


async def _run_all(runners: CanaryRunners, names: list[str]) -> None:
    for first in range(0, len(names), 20):
        await asyncio.gather(*(runners.by_name[name](_CLOCK.time()) for name in names[first : first + 20]))


async def _fetch(host: str, port: int) -> int:
    """Read ``/metrics`` and return the size of the response in bytes."""
    reader, writer = await asyncio.open_connection(host, port, limit=2**24)
    head = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {_OPENMETRICS}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    size = 0
    while chunk := await reader.read(2**20):
        size += len(chunk)
    writer.close()
    return size


@asynccontextmanager
async def _longest_delay(lags: list[float]) -> AsyncIterator[None]:
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before - 0.001)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()
        lags.append(longest)
