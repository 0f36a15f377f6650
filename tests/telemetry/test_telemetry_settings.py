"""Telemetry settings: the section, the environment, the resource, the headers."""

import asyncio
import logging
from collections.abc import Callable

import httpx2
import pytest
from pydantic import ValidationError

from streamcanary.model.clock import SystemClock
from streamcanary.model.config_types.secret import Secret
from streamcanary.telemetry.config import OtlpConfig, TelemetryConfig
from streamcanary.telemetry.otlp.export_settings import ExportSettings, TelemetryMisconfigured, resolve_export_settings
from streamcanary.telemetry.otlp.http import OtlpHttpTransport
from streamcanary.telemetry.otlp.sdk_log_handler import SdkLogHandler
from streamcanary.telemetry.providers import Telemetry
from streamcanary.telemetry.resource import resource_attributes

NOTHING = TelemetryConfig()
LOCAL = TelemetryConfig(otlp={"endpoint": "http://localhost:4318"})


def test_the_signal_paths_are_added():
    """Over http/protobuf each signal has its path below the base address."""
    assert resolve_export_settings(LOCAL, {}) == ExportSettings(
        protocol="http/protobuf",
        traces_endpoint="http://localhost:4318/v1/traces",
        metrics_endpoint="http://localhost:4318/v1/metrics",
        logs_endpoint="http://localhost:4318/v1/logs",
        interval=10.0,
        timeout=2.0,
    )


def test_a_base_address_may_have_a_path():
    """A gateway that serves OTLP below a path is reached there."""
    section = TelemetryConfig(otlp={"endpoint": "https://gateway.example/otlp/"})
    assert resolve_export_settings(section, {}).traces_endpoint == "https://gateway.example/otlp/v1/traces"


def test_grpc_has_no_paths():
    """Over gRPC both signals go to the address itself."""
    section = TelemetryConfig(otlp={"endpoint": "http://localhost:4317", "protocol": "grpc"})
    found = resolve_export_settings(section, {})
    assert (found.traces_endpoint, found.metrics_endpoint) == ("http://localhost:4317", "http://localhost:4317")


def test_without_an_endpoint_nothing_is_exported():
    """Without an endpoint in the section and the environment, there are no export settings."""
    assert resolve_export_settings(NOTHING, {}) is None


def test_the_standard_environment_variables_apply():
    """Without ``otlp`` in the section the standard variables set the endpoints."""
    found = resolve_export_settings(
        NOTHING, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_METRIC_EXPORT_INTERVAL": "30000"}
    )
    assert (found.traces_endpoint, found.metrics_endpoint) == (
        "http://collector:4318/v1/traces",
        "http://collector:4318/v1/metrics",
    )
    assert found.interval == 30.0


def test_the_endpoint_of_one_signal_is_used_unchanged():
    """The variable of a signal contains the complete address, and does not enable the other signal."""
    found = resolve_export_settings(NOTHING, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/custom"})
    assert (found.traces_endpoint, found.metrics_endpoint) == ("http://collector:4318/custom", None)


def test_the_environment_can_disable_a_signal():
    """``OTEL_METRICS_EXPORTER=none`` disables the export of metrics."""
    found = resolve_export_settings(
        NOTHING, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_METRICS_EXPORTER": "none"}
    )
    assert (found.traces_endpoint, found.metrics_endpoint) == ("http://c:4318/v1/traces", None)


def test_the_section_overrides_the_environment():
    """Endpoint and protocol of the section replace those of the environment."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert resolve_export_settings(LOCAL, environ) == resolve_export_settings(LOCAL, {})


def test_the_section_selects_the_signals():
    """A signal that the endpoint does not accept is not exported."""
    found = resolve_export_settings(TelemetryConfig(otlp={"endpoint": "http://c:4318", "signals": ["metrics"]}), {})
    assert (None, "http://c:4318/v1/metrics", None) == (
        found.traces_endpoint,
        found.metrics_endpoint,
        found.logs_endpoint,
    )


def test_the_environment_sets_and_disables_logs():
    """Logs have an endpoint of their own, and ``OTEL_LOGS_EXPORTER=none`` disables them."""
    environ = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://logs:4318/custom"}
    assert "http://logs:4318/custom" == resolve_export_settings(NOTHING, environ).logs_endpoint
    assert resolve_export_settings(NOTHING, {**environ, "OTEL_LOGS_EXPORTER": "none"}) is None


@pytest.mark.parametrize(("section", "expected"), [(NOTHING, "delta"), (LOCAL, "delta")])
def test_temporality_and_histograms_default_to_the_environment(section, expected):
    """The standard variables apply without a section, and where the section leaves the value open."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "DELTA",
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram",
    }
    found = resolve_export_settings(section, environ)
    assert (expected, "exponential") == (found.temporality, found.histograms)
    set_in_section = {"endpoint": "http://c:4318", "temporality": "lowmemory", "histograms": "explicit"}
    found = resolve_export_settings(TelemetryConfig(otlp=set_in_section), environ)
    assert ("lowmemory", "explicit") == (found.temporality, found.histograms)


def test_the_sdk_can_be_disabled():
    """``OTEL_SDK_DISABLED=true`` disables the exports even if the section sets an endpoint."""
    assert resolve_export_settings(LOCAL, {"OTEL_SDK_DISABLED": "true"}) is None


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "is 'http/json': it must be http/protobuf or grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "an endpoint is an address such as http://localhost:4318"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://u:hunter2@c:4318/v1/traces",
            "must not contain a user name or password",
        ),
        ("OTEL_METRIC_EXPORT_INTERVAL", "10s", "a whole number of milliseconds"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1", "a whole number of milliseconds"),
    ],
)
def test_an_invalid_variable_is_reported(variable, value, message):
    """The message names the variable and a valid value, and shows no secret."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", variable: value}
    with pytest.raises(TelemetryMisconfigured) as caught:
        Telemetry(environ=environ, make_global=False).prepare(NOTHING)
    assert variable in str(caught.value)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TEMPORALITY_PREFERENCE", "deltas", "is 'deltas': it must be cumulative, delta or lowmemory"),
        (
            "DEFAULT_HISTOGRAM_AGGREGATION",
            "exponential",
            "it must be explicit_bucket_histogram or base2_exponential_bucket_histogram",
        ),
    ],
)
def test_an_unknown_preference_is_logged_and_ignored(variable, value, message, caplog):
    """As the specification asks: the default applies, and the daemon starts."""
    name = f"OTEL_EXPORTER_OTLP_METRICS_{variable}"
    found = resolve_export_settings(NOTHING, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", name: value})
    assert ("cumulative", "explicit") == (found.temporality, found.histograms)
    [record] = caplog.records
    assert ("environment variable ignored", name) == (record.message, record.variable)
    assert message in record.problem


@pytest.mark.parametrize(
    ("otlp", "message"),
    [
        ({"endpoint": "http://me:hunter2@localhost:4318"}, "put them in `headers`"),
        ({"endpoint": "http://localhost:4318/v1/traces"}, "without /v1/traces"),
        ({"endpoint": "http://localhost:4317/otlp", "protocol": "grpc"}, "has no path"),
        ({"endpoint": "http://localhost:4318?token=x"}, "no `?`"),
        ({"endpoint": "http://localhost:4318", "interval": "0s"}, "longer than zero"),
        ({"endpoint": "http://localhost:4318", "timeout": "2h"}, "less than or equal to 60"),
        ({"endpoint": "http://localhost:4318", "headers": {"a b": "x"}}, "not a valid header name"),
        ({"endpoint": "http://localhost:4318", "headers": {"a": "x\ny"}}, "not a valid header value"),
    ],
)
def test_an_invalid_section_is_rejected(otlp, message):
    """Each error in the section is reported with a valid value."""
    with pytest.raises(ValidationError) as caught:
        OtlpConfig.model_validate(otlp)
    assert message in caught.value.errors(include_input=False)[0]["msg"]


def test_the_instance_id_in_kubernetes_names_the_container():
    """The instance id stays the same after a restart of the container."""
    environ = {"POD_NAME": "chat-0", "POD_NAMESPACE": "prod", "CONTAINER_NAME": "canary", "POD_UID": "u-1"}
    found = resource_attributes(environ, version="1.2.3", host="laptop")
    assert found == {
        "service.name": "streamcanary",
        "service.version": "1.2.3",
        "service.namespace": "prod",
        "service.instance.id": "prod.chat-0.canary",
        "k8s.namespace.name": "prod",
        "k8s.pod.name": "chat-0",
        "k8s.pod.uid": "u-1",
        "k8s.container.name": "canary",
    }


def test_variables_of_other_programs_are_not_read():
    """Without a pod, variables with names that any program may use say nothing about this process."""
    environ = {
        "POD_NAMESPACE": "prod",
        "NODE_NAME": "node-7",
        "CONTAINER_NAME": "x",
        "POD_UID": "u-1",
        "CLUSTER_NAME": "c",
        "DEPLOYMENT_NAME": "d",
        "DEPLOYMENT_ENVIRONMENT": "e",
    }
    expected = {"service.name": "streamcanary", "service.version": "1.2.3", "service.instance.id": "laptop"}
    assert expected == resource_attributes(environ, version="1.2.3", host="laptop")
    assert "c" not in resource_attributes({**environ, "POD_NAME": "p"}, version="1.2.3", host="laptop").values()


def test_the_instance_id_on_a_laptop_is_the_host():
    """Without a pod the instance id is the host name, and empty variables count as unset."""
    assert resource_attributes({"POD_NAME": ""}, version="1.2.3", host="laptop") == {
        "service.name": "streamcanary",
        "service.version": "1.2.3",
        "service.instance.id": "laptop",
    }


def test_the_resource_of_the_section_takes_precedence(monkeypatch):
    """The standard variables override detected attributes, and the section overrides both."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=env,team=env,color=blue")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "probe")
    from streamcanary.telemetry.sdk import create_resource

    resource = create_resource({"service.name": "streamcanary", "service.namespace": "found"}, {"team": "section"})
    expected = {"service.name": "probe", "service.namespace": "env", "team": "section", "color": "blue"}
    assert {name: resource.attributes[name] for name in expected} == expected


async def receive_one(
    otlp: dict, *, host: str = "127.0.0.1", status: str = "200 OK", meanwhile: Callable[[], object] = tuple
) -> str:
    """Export one span to a server that answers ``status``; return the head of the request.

    ``meanwhile`` happens between the start and the export.
    """
    heads = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        heads.append(head)
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        await reader.readexactly(length)
        writer.write(
            f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nlocation: /login\r\nconnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        endpoint = f"http://{host}:{server.sockets[0].getsockname()[1]}"
        telemetry = Telemetry(environ={"OTEL_METRICS_EXPORTER": "none"}, make_global=False)
        telemetry.prepare(TelemetryConfig(otlp={"endpoint": endpoint, **otlp}))
        telemetry.apply()
        meanwhile()
        telemetry.tracer_provider.get_tracer("test").start_span("one").end()
        await telemetry.close()
    return next(head for head in heads if head.startswith("POST /v1/traces "))


async def test_headers_are_sent(monkeypatch):
    """The headers of the section and of the environment are sent; the section takes precedence."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=env,x-other=env")
    head = await receive_one({"headers": {"X-Tenant": "section", "Authorization": "Bearer abc"}})
    assert "x-tenant: section\r\n" in head.lower()
    assert "x-other: env\r\n" in head.lower()
    assert "authorization: Bearer abc\r\n" in head


async def test_a_netrc_does_not_replace_the_headers(monkeypatch, tmp_path):
    """Credentials of other programs are not sent to a local or remote collector."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("NO_PROXY", "*")
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - this machine, but not a loopback address
        head = await receive_one({"headers": {"authorization": "Bearer abc"}}, host=host)
        assert "authorization: Bearer abc\r\n" in head
        assert "Basic" not in head


async def test_a_header_is_read_again_from_its_file(tmp_path):
    """A token that is rotated while the daemon runs is sent with its new value."""
    token = tmp_path / "token"
    token.write_text("old")
    headers = {"x-token": Secret(path=token)}
    head = await receive_one({"headers": headers}, meanwhile=lambda: token.write_text("newer"))
    assert "x-token: newer\r\n" in head


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_an_invalid_header_is_rejected_at_the_start(tmp_path, protocol):
    """A secret with a line break, or from an empty file, is rejected at the start without being shown."""
    token = tmp_path / "token"
    token.write_text("hunter2")
    otlp = {"endpoint": "http://127.0.0.1:4317", "protocol": protocol, "headers": {"x-token": {"file": token}}}
    section = TelemetryConfig(otlp=otlp)
    for content, message in {"hunter2\nhunter2": "printable ASCII", "": "is empty"}.items():
        token.write_text(content)  # since the configuration was read
        with pytest.raises(TelemetryMisconfigured, match=message) as caught:
            Telemetry(environ={}, make_global=False).prepare(section)
        assert "telemetry.otlp.headers, x-token" in str(caught.value)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "reason"), [("302 Found", "HTTP 302 Found"), ("401 Unauthorized", "HTTP 401 Unauthorized")]
)
async def test_a_response_without_success_status_is_an_export_failure(caplog, status, reason):
    """A redirect to a login page counts as a failure; the warning contains the response status."""
    caplog.set_level(logging.WARNING)
    await receive_one({}, status=status)
    failures = [record for record in caplog.records if record.getMessage() == "telemetry export failed"]
    [failure] = [record for record in failures if record.signal == "traces"]
    assert (failure.lost_batches, failure.error) == (1, reason)


@pytest.mark.parametrize("left", [3600.0, -3600.0])
async def test_a_step_of_the_wall_clock_does_not_extend_an_export(left):
    """The exporter computes the remaining time on the wall clock; the transport bounds it by the timeout."""
    connections = []
    async with await asyncio.start_server(lambda *streams: connections.append(streams), "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/traces"
        target = ExportSettings(protocol="http/protobuf", traces_endpoint=url, metrics_endpoint=None, timeout=0.2)
        transport = OtlpHttpTransport(target, url, "traces", SdkLogHandler(SystemClock()))
        result = await asyncio.wait_for(asyncio.to_thread(transport.request, "POST", url, timeout=left), 10)
        assert isinstance(result.error, httpx2.ReadTimeout)
        transport.close()
        for _, writer in connections:
            writer.close()
