"""A Collector is killed, hangs, refuses, rejects a part, or restarts: losses are counted, and no run is late."""

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.http_client import loopback_client
from support.programs.collector import Collector
from support.programs.daemon import Daemon
from support.servers.otlp import FakeCollector, Mode
from support.servers.provider import FakeProvider

PROTOCOLS = ["http/protobuf", "grpc"]
HEALTHY = 3.0  # seconds before and after the failure
FAILURE = 7.0  # seconds: several exports
MAX_LAG = 0.05
_LAG_STEP = 0.005
_LOST = re.compile(r"^streamcanary_telemetry_lost_total\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.MULTILINE)


def config(provider: FakeProvider, endpoint: str, protocol: str) -> dict[str, Any]:
    """Return ten canaries that run every second, and exports every second."""
    return {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {f"canary-{number}": {"target": "sim", "every": "1s", "model": "sim-ok"} for number in range(10)},
        "telemetry": {"otlp": {"endpoint": endpoint, "protocol": protocol, "interval": "1s", "timeout": "1s"}},
    }


class Run:
    """A daemon that ran through a failure: its log, its lags, its spans, and what it counted as lost."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.failure_start = math.inf
        self.machine_lag = 0.0
        self.lost: dict[tuple[str, str], int] = {}

    @property
    def recorded_spans(self) -> int:
        """The spans of all runs: run, call, and attempts."""
        return sum(2 + line["attempts"] for line in self.daemon.log_lines("run finished") if line["trace_id"])

    def lost_spans(self, reason: str) -> int:
        """Return the spans that the daemon counted as lost."""
        return self.lost.get(("traces", reason), 0)

    def lags(self) -> list[float]:
        """Return the seconds from when each run since the failure was due to its start, as the daemon recorded them."""
        outcomes = [json.loads(outcome) for (outcome,) in self.daemon.query("SELECT outcome FROM runs")]
        return [each["started"] - each["scheduled"] for each in outcomes if each["scheduled"] > self.failure_start]

    def logged(self, message: str, signal: str = "traces") -> list[dict[str, Any]]:
        """Return the log lines of one message about one signal."""
        return [line for line in self.daemon.log_lines(message) if line["signal"] == signal]

    async def read_lost(self) -> None:
        """Read the counters from ``/metrics``, which needs no Collector."""
        port = (await self.daemon.wait_for_log("web server started"))["port"]
        async with loopback_client() as client:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).raise_for_status().text
        for found in _LOST.finditer(text):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', found["labels"]))
            self.lost[labels["signal"], labels["reason"]] = int(float(found["value"]))


@asynccontextmanager
async def daemon_through(
    folder: Path,
    endpoint: str,
    protocol: str,
    begin: Callable[[], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
) -> AsyncIterator[Run]:
    """Run a daemon before, during and after the failure between ``begin`` and ``end``, and stop it."""
    async with FakeProvider() as provider, Daemon(folder / "daemon", config(provider, endpoint, protocol)) as daemon:
        run = Run(daemon)
        await asyncio.sleep(HEALTHY)
        await begin()
        run.failure_start = time.time()
        run.machine_lag = await measure_lag(FAILURE)
        await end()
        await asyncio.sleep(HEALTHY)
        await run.read_lost()
        assert 0 == (await daemon.terminate()).code
        yield run


async def measure_lag(seconds: float) -> float:
    """Wait, and return by how much the event loop of this idle process was late at most: that is the machine."""
    worst, end = 0.0, time.monotonic() + seconds
    while (before := time.monotonic()) < end:
        await asyncio.sleep(_LAG_STEP)
        worst = max(worst, time.monotonic() - before - _LAG_STEP)
    return worst


def check_no_run_is_late(run: Run) -> None:
    """Assert that no run started more than 50 ms after it was due; the last check of a test.

    A machine on which an idle process is late by half of that cannot tell: there the test is skipped, after all its
    other checks.
    """
    late = [lag for lag in run.lags() if lag > MAX_LAG]
    assert len(run.lags()) > 50
    if late and run.machine_lag > MAX_LAG / 2:
        pytest.skip(f"runs were late, but an idle process on this machine, too, by {run.machine_lag:.3f} s")
    assert [] == late


def endpoint_of(collector: Collector | FakeCollector, protocol: str) -> str:
    """Return the address of a collector for ``protocol``."""
    if isinstance(collector, Collector):
        return collector.otlp_grpc_endpoint if protocol == "grpc" else collector.otlp_endpoint
    return collector.grpc_url if protocol == "grpc" else collector.url


@pytest.mark.real("otelcol")
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_killed_collector(tmp_path: Path, protocol: str) -> None:
    """Each span either arrives, or is counted as lost and logged; exports continue when the Collector is back."""
    async with Collector(tmp_path) as collector:

        async def kill_between_exports() -> None:
            received = len(await collector.spans())
            await collector.spans(received + 1)
            await asyncio.sleep(0.5)  # it writes what it received to its file
            await collector.kill()

        endpoint = endpoint_of(collector, protocol)
        async with daemon_through(tmp_path, endpoint, protocol, kill_between_exports, collector.start_again) as run:
            lost = run.lost_spans("failed")
            assert lost > 0
            assert run.recorded_spans == len(await collector.spans(run.recorded_spans - lost)) + lost
            [failed], [recovered] = run.logged("telemetry export failed"), run.logged("telemetry export recovered")
            assert failed["failing_since"] == recovered["failing_since"]
            assert recovered["lost_batches"] > 0
            check_no_run_is_late(run)


@pytest.mark.real("otelcol")
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_collector_that_hangs(tmp_path: Path, protocol: str) -> None:
    """Exports time out, and are counted as lost, even if the Collector reads some when it continues."""
    async with Collector(tmp_path) as collector:

        async def pause() -> None:
            collector.pause()

        async def resume() -> None:
            collector.resume()

        endpoint = endpoint_of(collector, protocol)
        async with daemon_through(tmp_path, endpoint, protocol, pause, resume) as run:
            lost = run.lost_spans("failed")
            assert lost > 0
            assert run.recorded_spans <= len(await collector.spans(run.recorded_spans - lost)) + lost
            assert run.logged("telemetry export recovered")
            check_no_run_is_late(run)


@pytest.mark.real("otelcol")
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_collector_that_restarts(tmp_path: Path, protocol: str) -> None:
    """A Collector that is back within a second costs at most the exports of that second, and these are counted."""
    async with Collector(tmp_path) as collector:

        async def nothing() -> None:
            await asyncio.sleep(0)

        endpoint = endpoint_of(collector, protocol)
        async with daemon_through(tmp_path, endpoint, protocol, collector.start_again, nothing) as run:
            lost = run.lost_spans("failed")
            assert run.recorded_spans == len(await collector.spans(run.recorded_spans - lost)) + lost
            check_no_run_is_late(run)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", ["unavailable", "hang"])
async def test_a_receiver_that_refuses_or_hangs(tmp_path: Path, protocol: str, mode: Mode) -> None:
    """503 over HTTP, UNAVAILABLE over gRPC, and no answer at all: what is not accepted is counted, of each signal."""
    async with FakeCollector() as collector:
        run = await run_in_mode(tmp_path, collector, protocol, mode)
        assert run.lost_spans("failed") > 0
        assert run.lost["metrics", "failed"] > 0
        assert run.recorded_spans == collector.accepted_items["/v1/traces"] + run.lost_spans("failed")
        assert 0 == run.lost_spans("rejected")
        check_no_run_is_late(run)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_receiver_that_rejects_a_part(tmp_path: Path, protocol: str) -> None:
    """A partial success is no failure: the rejected items are counted, and logged with the receiver's message."""
    async with FakeCollector() as collector:
        run = await run_in_mode(tmp_path, collector, protocol, "reject")
        assert run.lost_spans("rejected") == collector.rejected_items["/v1/traces"] > 0
        assert run.lost["metrics", "rejected"] > 0
        assert run.recorded_spans == collector.accepted_items["/v1/traces"] + run.lost_spans("rejected")
        assert 0 == run.lost_spans("failed")
        [warning] = run.logged("telemetry partially rejected")
        assert (1, "over the quota") == (warning["rejected_items"], warning["error"])
        assert [] == run.logged("telemetry export failed")
        check_no_run_is_late(run)


async def run_in_mode(folder: Path, collector: FakeCollector, protocol: str, mode: Mode) -> Run:
    """Run a daemon while ``collector`` accepts, then answers as ``mode`` says, then accepts again."""

    async def begin() -> None:
        collector.mode = mode

    async def end() -> None:
        collector.mode = "accept"

    async with daemon_through(folder, endpoint_of(collector, protocol), protocol, begin, end) as run:
        return run
