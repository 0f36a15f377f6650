"""What a receiver of OTLP does not take is counted by signal and reason, over both protocols."""

import asyncio

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from streamcanary.model import names
from streamcanary.telemetry.config import TelemetryConfig
from streamcanary.telemetry.otlp.export_failures import LOSS_REASONS
from streamcanary.telemetry.otlp.partial_success import record_partial_success
from streamcanary.telemetry.otlp.sdk_log_handler import SdkLogHandler
from streamcanary.telemetry.providers import Telemetry
from support.clock import ManualClock
from support.servers.otlp import FakeCollector


def start(collector: FakeCollector, protocol: str) -> Telemetry:
    """Return telemetry that exports to ``collector``, and serves ``/metrics``."""
    telemetry = Telemetry(environ={}, make_global=False)
    endpoint = collector.grpc_url if protocol == "grpc" else collector.url
    telemetry.prepare(TelemetryConfig(otlp={"endpoint": endpoint, "protocol": protocol, "timeout": "500ms"}))
    telemetry.apply()
    return telemetry


def record_spans(telemetry: Telemetry, count: int) -> None:
    """End ``count`` spans, and add to a counter."""
    assert isinstance(telemetry.tracer_provider, TracerProvider)
    assert isinstance(telemetry.meter_provider, MeterProvider)
    for number in range(count):
        telemetry.tracer_provider.get_tracer("test").start_span(f"span-{number}").end()
    telemetry.meter_provider.get_meter("test").create_counter(names.RUNS.name).add(1)


async def losses(telemetry: Telemetry) -> dict[tuple[str, str], int]:
    """Export everything, and return the losses by signal and reason that are not 0."""
    for provider in (telemetry.tracer_provider, telemetry.meter_provider, telemetry.logger_provider):
        assert isinstance(provider, TracerProvider | MeterProvider | LoggerProvider)
        await asyncio.to_thread(provider.force_flush, 5000)
    return {
        (signal, reason): items
        for signal, tracker in telemetry._trackers.items()
        for reason, items in tracker.lost_items.items()
        if items
    }


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_a_rejected_part_is_counted_and_logged(protocol, caplog):
    """One span and one data point of each export are rejected; the warning has the message of the receiver."""
    async with FakeCollector() as collector, start(collector, protocol) as telemetry:
        collector.mode = "reject"
        record_spans(telemetry, 5)
        assert await losses(telemetry) == {("traces", "rejected"): 1, ("metrics", "rejected"): 1}
        assert collector.accepted_items["/v1/traces"] == 4
    warnings = [record for record in caplog.records if record.getMessage() == "telemetry partially rejected"]
    assert {(record.signal, record.rejected_items, record.error) for record in warnings} == {
        ("traces", 1, "over the quota"),
        ("metrics", 1, "over the quota"),
    }


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_a_failed_export_is_counted(protocol):
    """The spans and data points of an export that the receiver refuses are lost; later ones are not."""
    async with FakeCollector() as collector, start(collector, protocol) as telemetry:
        collector.mode = "unavailable"
        record_spans(telemetry, 5)
        lost = await losses(telemetry)
        assert (lost["traces", "failed"], lost["metrics", "failed"] > 0) == (5, True)
        collector.mode = "accept"
        record_spans(telemetry, 3)
        assert (await losses(telemetry))["traces", "failed"] == 5
        assert collector.accepted_items["/v1/traces"] == 3


async def test_the_losses_are_a_metric():
    """``/metrics`` has a series for each signal that is exported, and each reason."""
    async with FakeCollector() as collector, start(collector, "http/protobuf") as telemetry:
        collector.mode = "reject"
        record_spans(telemetry, 2)
        await losses(telemetry)
        assert telemetry.scraper is not None
        parts = [part async for part in telemetry.scraper.scrape("text/plain")[1]]
    lines = [line for line in b"".join(parts).decode().splitlines() if line.startswith("streamcanary_telemetry_lost")]
    assert len(lines) == 9
    assert {("traces", "rejected"), ("metrics", "rejected")} == {
        (signal, reason)
        for line in lines
        for signal in ("traces", "metrics", "logs")
        for reason in LOSS_REASONS
        if f'signal="{signal}"' in line and f'reason="{reason}"' in line and not line.endswith((" 0", " 0.0"))
    }


@pytest.mark.parametrize("content", [b"", b"<html>", b"{}", b"\x0a\x00", b"\x00" * 100_000])
def test_a_response_without_a_rejection_rejects_nothing(content):
    """An empty body, and one that is no OTLP, count nothing."""
    sdk_log = SdkLogHandler(ManualClock())
    record_partial_success(content, sdk_log)
    assert sdk_log.pop_rejection() is None


def test_a_message_with_a_secret_is_redacted():
    """The message comes from a server: it is scrubbed, and its length is bounded."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 3
    response.partial_success.error_message = "Bearer sk-proj-qX7wZk93LmVb2TnRdc8Hy4JfGs5PuE1oA6iCwQ " + "x" * 10_000
    sdk_log = SdkLogHandler(ManualClock())
    record_partial_success(response.SerializeToString(), sdk_log)
    rejection = sdk_log.pop_rejection()
    assert rejection is not None
    items, message = rejection
    assert (items, "qX7wZk93" in message, len(message) <= 400) == (3, False, True)
