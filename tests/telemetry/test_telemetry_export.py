"""Traces and metrics reach a real OpenTelemetry Collector."""

import logging
import time

import pytest
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

from streamcanary import __version__
from streamcanary.model import names
from streamcanary.telemetry.config import OtlpConfig, TelemetryConfig
from streamcanary.telemetry.providers import Telemetry
from support.programs.collector import Collector

pytestmark = pytest.mark.real("otelcol")

POD = {"POD_NAME": "chat-0", "POD_NAMESPACE": "prod", "CONTAINER_NAME": "canary", "NODE_NAME": "node-7"}


def start(endpoint: str, *, protocol: str = "http/protobuf", series: int = 0, **section: object) -> Telemetry:
    """Return telemetry that exports from the pod ``chat-0`` to ``endpoint``."""
    telemetry = Telemetry(environ=POD, make_global=False, expected_series=series)
    otlp = {"endpoint": endpoint, "protocol": protocol, **section}
    telemetry.prepare(TelemetryConfig(otlp=otlp, resource={"team": "ml"}))
    telemetry.apply()
    return telemetry


def record_a_run(telemetry: Telemetry) -> None:
    """Record the spans and metrics of a run with one failed attempt."""
    assert telemetry.tracer_provider is not None
    assert telemetry.meter_provider is not None
    tracer = telemetry.tracer_provider.get_tracer(names.INSTRUMENTATION_SCOPE)
    run = tracer.start_span(names.RUN_SPAN, attributes={names.RUN_CANARY: "chat-mini"})
    call = tracer.start_span("chat sim-500", kind=SpanKind.CLIENT, context=set_span_in_context(run))
    call.add_event(names.RETRY_SCHEDULED_EVENT)
    call.set_attributes({names.ERROR_TYPE: "server_error", names.CALL_ATTEMPTS: 2})
    call.set_status(StatusCode.ERROR, "HTTP 500")
    call.end()
    run.end()
    meter = telemetry.meter_provider.get_meter(names.INSTRUMENTATION_SCOPE)
    meter.create_counter(names.RUNS.name, names.RUNS.unit).add(1, {names.CANARY: "chat-mini", names.OUTCOME: "failed"})
    duration = meter.create_histogram(names.OPERATION_DURATION.name, names.OPERATION_DURATION.unit)
    duration.record(0.05, {names.PROVIDER: "openai"})


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_spans_and_metrics_arrive(tmp_path, protocol):
    """Spans and metrics that are recorded before the shutdown arrive completely, over either protocol."""
    async with Collector(tmp_path) as collector:
        endpoint = collector.otlp_endpoint if protocol == "http/protobuf" else collector.otlp_grpc_endpoint
        async with start(endpoint, protocol=protocol) as telemetry:
            record_a_run(telemetry)

        [run] = await collector.spans(name=names.RUN_SPAN)
        [call] = await collector.spans(name="chat sim-500")
        assert (run.kind, run.parent_id, run.status) == ("INTERNAL", "", "UNSET")
        assert (call.kind, call.parent_id, call.trace_id) == ("CLIENT", run.span_id, run.trace_id)
        assert (call.status, call.status_message) == ("ERROR", "HTTP 500")
        assert call.attributes == {names.ERROR_TYPE: "server_error", names.CALL_ATTEMPTS: 2}
        assert call.events == (names.RETRY_SCHEDULED_EVENT,)

        [runs] = await collector.points(names.RUNS.name)
        assert (runs.value, runs.attributes) == (1, {"canary": "chat-mini", "outcome": "failed"})
        [duration] = await collector.points(names.OPERATION_DURATION.name)
        assert (duration.value, duration.sum, duration.bounds) == (1, 0.05, names.SECONDS_BUCKETS)


async def test_the_resource_identifies_the_process(tmp_path):
    """Every span and metric has the attributes of the service, the pod and the ``telemetry:`` section."""
    async with Collector(tmp_path) as collector:
        async with start(collector.otlp_endpoint) as telemetry:
            record_a_run(telemetry)

        expected = {
            "service.name": "streamcanary",
            "service.version": __version__,
            "service.namespace": "prod",
            "service.instance.id": "prod.chat-0.canary",
            "k8s.namespace.name": "prod",
            "k8s.pod.name": "chat-0",
            "k8s.container.name": "canary",
            "k8s.node.name": "node-7",
            "team": "ml",
        }
        [run] = await collector.spans(name=names.RUN_SPAN)
        [point] = await collector.points(names.RUNS.name)
        assert {name: run.resource.get(name) for name in expected} == expected
        assert point.resource == run.resource


async def test_prometheus_names(tmp_path):
    """A Collector exports the metrics to Prometheus with the names that alerts and dashboards use."""
    async with Collector(tmp_path) as collector:
        async with start(collector.otlp_endpoint) as telemetry:
            record_a_run(telemetry)
        await collector.points(names.RUNS.name)

        text = await collector.prometheus()
        assert "streamcanary_runs_total{" in text
        assert "gen_ai_client_operation_duration_seconds_bucket{" in text


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_logs_arrive(tmp_path, protocol):
    """A warning arrives as an event with its trace and its attributes, also the last one before the shutdown."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    async with Collector(tmp_path) as collector:
        endpoint = collector.otlp_endpoint if protocol == "http/protobuf" else collector.otlp_grpc_endpoint
        async with start(endpoint, protocol=protocol):
            fields = {"alert": "Down", "bad": 2, "trace_ids": [trace_id]}
            logging.getLogger("streamcanary.app").warning("alert fired", extra=fields)
            logging.getLogger("streamcanary.app").info("run finished")

        [log] = await collector.logs()
    assert (names.ALERT_FIRED_EVENT, "alert fired", "WARN") == (log.event, log.body, log.severity)
    assert (trace_id, "streamcanary") == (log.trace_id, log.scope)
    expected = {"logger": "streamcanary.app", "alert": "Down", "bad": 2, "trace_ids": [trace_id]}
    assert expected == log.attributes
    assert "prod.chat-0.canary" == log.resource["service.instance.id"]


async def test_temporality_and_exponential_histograms_arrive(tmp_path):
    """With ``delta`` an export has what happened since the last one; ``/metrics`` keeps the sum."""
    async with Collector(tmp_path) as collector:
        section = {"interval": "1s", "temporality": "delta", "histograms": "exponential"}
        async with start(collector.otlp_endpoint, **section) as telemetry:
            meter = telemetry.meter_provider.get_meter(names.INSTRUMENTATION_SCOPE)
            runs = meter.create_counter(names.RUNS.name, names.RUNS.unit)
            meter.create_histogram(names.OPERATION_DURATION.name, "s").record(0.05)
            for number in (2, 3):
                runs.add(number)
                await collector.values(names.RUNS.name, number)
            text = [part async for part in telemetry.scraper.scrape("")[1]]
    assert [2, 3] == [point.value for point in collector.history(names.RUNS.name)]
    assert b"streamcanary_runs_total 5\n" in b"".join(text)
    assert b'gen_ai_client_operation_duration_seconds_bucket{le="0.08"} 1\n' in b"".join(text)
    assert ["exponentialHistogram"] == collector.kinds(names.OPERATION_DURATION.name)


@pytest.mark.parametrize(("series", "kept"), [(0, 2000), (2100, 2500)])
async def test_series_beyond_the_limit_are_merged(tmp_path, series, kept):
    """A metric has 2,000 series by default, and more if the configuration expects more."""
    async with Collector(tmp_path) as collector:
        async with start(collector.otlp_endpoint, series=series) as telemetry:
            runs = telemetry.meter_provider.get_meter(names.INSTRUMENTATION_SCOPE).create_counter(names.RUNS.name)
            for number in range(2500):
                runs.add(1, {names.CANARY: f"canary-{number}"})

        points = await collector.points(names.RUNS.name)
        overflow = [point.value for point in points if point.attributes == {"otel.metric.overflow": True}]
        assert overflow == ([2500 - kept] if kept < 2500 else [])
        assert len(points) - len(overflow) == kept


async def test_metrics_are_exported_at_intervals(tmp_path):
    """Metrics are exported while the daemon runs, not only at its shutdown."""
    async with Collector(tmp_path) as collector, start(collector.otlp_endpoint, interval="1s") as telemetry:
        record_a_run(telemetry)
        [runs] = await collector.points(names.RUNS.name)
        assert runs.value == 1
        assert await collector.spans(name=names.RUN_SPAN)


async def test_a_local_endpoint_is_reached_without_a_proxy(tmp_path, monkeypatch):
    """A proxy in the environment is not used for a Collector on this machine."""
    for variable in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "grpc_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    async with Collector(tmp_path) as collector:
        for endpoint, protocol in (
            (collector.otlp_endpoint, "http/protobuf"),
            (collector.otlp_grpc_endpoint, "grpc"),
            (collector.otlp_endpoint.replace("127.0.0.1", "localhost"), "http/protobuf"),
        ):
            async with start(endpoint, protocol=protocol) as telemetry:
                record_a_run(telemetry)
        assert len(await collector.spans(3, name=names.RUN_SPAN)) == 3


async def test_a_reload_changes_the_endpoint(tmp_path):
    """After a reload, spans go to the new endpoint, or nowhere if it has none."""
    async with Collector(tmp_path / "old") as old, Collector(tmp_path / "new") as new:
        telemetry = Telemetry(environ={}, make_global=False)
        for endpoint in (old.otlp_endpoint, new.otlp_endpoint):
            telemetry.prepare(TelemetryConfig(otlp=OtlpConfig(endpoint=endpoint)))
            telemetry.apply()
            telemetry.tracer_provider.get_tracer("test").start_span(f"to {endpoint}").end()
            telemetry.tracer_provider.force_flush()
        telemetry.prepare(TelemetryConfig())
        telemetry.apply()
        telemetry.tracer_provider.get_tracer("test").start_span("to nowhere").end()
        await telemetry.close()

        assert [span.name for span in await old.spans()] == [f"to {old.otlp_endpoint}"]
        assert [span.name for span in await new.spans()] == [f"to {new.otlp_endpoint}"]


async def test_a_long_attribute_is_truncated(tmp_path):
    """An attribute value of a megabyte from a provider is truncated to 2,048 characters."""
    async with Collector(tmp_path) as collector:
        async with start(collector.otlp_endpoint) as telemetry:
            span = telemetry.tracer_provider.get_tracer("test").start_span("long", start_time=time.time_ns())
            span.set_attribute(names.RESPONSE_MODEL, "x" * 1_000_000)
            span.end()
        [span] = await collector.spans(name="long")
        assert len(span.attributes[names.RESPONSE_MODEL]) == 2048
