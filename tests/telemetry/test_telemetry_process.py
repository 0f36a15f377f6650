"""A whole process: its imports, its log, and the time that it takes to exit when the endpoint does not respond."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from support.programs.collector import Collector
from support.programs.program import free_ports

RECORDER = Path(__file__).with_name("program_telemetry_recorder.py")


async def run(spans: int, **section: object) -> tuple[dict, list[dict]]:
    """Run the recorder to its end; return what it measured, and its log."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(RECORDER),
        str(spans),
        json.dumps(section),
        env=clean,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, stderr.decode()
    measured = json.loads(stdout)
    measured["until_exit"] = time.monotonic() - measured["close_started"]
    return measured, [json.loads(line) for line in stderr.splitlines()]


async def test_without_an_endpoint_telemetry_has_no_effect():
    """Without an endpoint and /metrics, the process imports no SDK, sets no provider, logs nothing, exits at once."""
    measured, log = await run(2000, prometheus=False)
    assert measured["imported"] == []
    assert measured["tracer_provider"] == "ProxyTracerProvider"
    assert log == []
    assert measured["close"] < 0.1


@pytest.mark.real("otelcol")
async def test_tracers_and_meters_of_the_api_export_through_the_sdk(tmp_path):
    """Tracers and meters taken from the API before the start export; over HTTP without gRPC and requests."""
    async with Collector(tmp_path) as collector:
        measured, log = await run(2000, otlp={"endpoint": collector.otlp_endpoint})
        assert len(await collector.spans(2000, name="recorded")) == 2000
        [runs] = await collector.points("streamcanary.runs")
    assert runs.value == 2000
    assert measured["imported"] == ["opentelemetry.exporter", "opentelemetry.sdk"]
    assert log == []


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_the_process_exits_in_time_when_the_endpoint_refuses_connections(protocol):
    """With 2,000 spans queued and a refusing endpoint, the process exits within 5 s and logs the loss."""
    [port] = free_ports(1)
    measured, log = await run(2000, otlp={"endpoint": f"http://127.0.0.1:{port}", "protocol": protocol})
    assert measured["until_exit"] < 5
    assert {line["level"] for line in log} == {"warning"}
    assert any("refused" in line.get("error", "") for line in log)
    assert all("\n" not in line["message"] and "exception" not in line for line in log)
    assert len(log) <= 4


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_the_process_exits_in_time_when_the_endpoint_hangs(protocol):
    """With 2,000 spans queued and an endpoint that never responds, the process exits within 5 s and logs the loss."""
    connections = []
    server = await asyncio.start_server(lambda *streams: connections.append(streams), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        measured, log = await run(2000, otlp={"endpoint": f"http://127.0.0.1:{port}", "protocol": protocol})
        for _, writer in connections:
            writer.close()
    assert measured["until_exit"] < 5
    assert {line["level"] for line in log} == {"warning"}
    assert any("last telemetry export failed" == line["message"] for line in log)


async def test_the_process_exits_in_time_when_the_endpoint_drips():
    """An export whose response never ends is dropped at the deadline."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(200):
            writer.write(b"x-%d: y\r\n" % number)
            await writer.drain()
            await asyncio.sleep(0.5)

    drips = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        drips.add(asyncio.current_task())
        try:
            await drip(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        measured, log = await run(10, otlp={"endpoint": f"http://127.0.0.1:{port}"})
        for task in drips:
            task.cancel()
    assert 3.5 < measured["close"] < 5
    assert measured["until_exit"] < 8
    assert sorted((line["message"], line["signal"]) for line in log) == [
        ("last telemetry export failed", "metrics"),
        ("last telemetry export failed", "traces"),
    ]
