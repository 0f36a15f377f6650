"""Log lines that are exported over OTLP: which ones, with which content, and never in a loop."""

import logging
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from streamcanary.model import names
from streamcanary.telemetry import logs
from streamcanary.telemetry.config import TelemetryConfig
from streamcanary.telemetry.otlp.log_export import create_log_handler
from streamcanary.telemetry.providers import Telemetry

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
APP = logging.getLogger("streamcanary.app")


@pytest.fixture
def exported() -> Iterator[InMemoryLogRecordExporter]:
    """Export the lines of this test to memory."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    handler = create_log_handler(provider)
    logging.getLogger().addHandler(handler)
    yield exporter
    logging.getLogger().removeHandler(handler)
    provider.shutdown()


def only(exporter: InMemoryLogRecordExporter):
    [data] = exporter.get_finished_logs()
    return data.log_record


def test_an_alert_is_an_event_with_a_trace(exported):
    """The message names the event, the fields are attributes, and the trace is that of the last failed run."""
    fields = {"alert": "Down", "subject": "chat", "bad": 2, "trace_ids": ["f" * 32, TRACE_ID], "reason": None}
    APP.warning("alert fired", extra={**fields, logs.OTLP_ATTRIBUTES: {"canary": "chat", "severity": "page"}})
    record = only(exported)
    assert (names.ALERT_FIRED_EVENT, "alert fired") == (record.event_name, record.body)
    assert (SeverityNumber.WARN, "WARN") == (record.severity_number, record.severity_text)
    assert (int(TRACE_ID, 16), 0, 1) == (record.trace_id, record.span_id, record.trace_flags)
    expected = {"alert": "Down", "subject": "chat", "bad": 2, "canary": "chat", "severity": "page"}
    assert expected == {name: record.attributes[name] for name in expected}
    assert ("streamcanary.app", False) == (record.attributes["logger"], "reason" in record.attributes)


def test_events_of_the_page_are_messages(exported):
    """The names of events in the documentation are those of the log lines."""
    for message in ("alert fired", "alert resolved", "notification failed"):
        APP.warning(message)
    found = [data.log_record.event_name for data in exported.get_finished_logs()]
    assert [names.ALERT_FIRED_EVENT, names.ALERT_RESOLVED_EVENT, names.NOTIFICATION_FAILED_EVENT] == found


def test_a_line_has_the_trace_of_the_current_span(exported):
    """A line that is logged within a span belongs to it."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("run")
    with trace.use_span(span):
        APP.error("run failed")
    context = span.get_span_context()
    assert (context.trace_id, context.span_id) == (only(exported).trace_id, only(exported).span_id)


@pytest.mark.parametrize("trace_id", [None, "", "x" * 32, "0" * 32, TRACE_ID.upper(), TRACE_ID[1:], 7, ["a"]])
def test_an_invalid_trace_id_is_ignored(exported, trace_id):
    """A record without a valid trace id has none."""
    APP.warning("run finished", extra={"trace_id": trace_id})
    assert 0 == only(exported).trace_id


def test_an_exception_has_its_type_and_traceback(exported):
    """An exception of any library is exported, too, redacted."""
    try:
        int("key sk-proj-0123456789abcdef")
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    record = only(exported)
    assert (None, SeverityNumber.ERROR) == (record.event_name, record.severity_number)
    assert "ValueError" == record.attributes[names.EXCEPTION_TYPE]
    assert "test_telemetry_log_export" in record.attributes[names.EXCEPTION_STACKTRACE]
    assert "sk-proj-0123456789abcdef" not in str(record.attributes) + record.body


def test_secrets_are_redacted_as_on_stderr(exported):
    """Secrets of the configuration, and texts that look like keys, are in no field."""
    logs.configure(json=True, secrets=lambda: ["correct-horse"], stream=logs._NullStream())
    APP.warning(
        "notification failed",
        extra={
            "error": "HTTP 401 for correct-horse",
            "list": ["correct-horse"],
            logs.OTLP_ATTRIBUTES: {"receiver": "correct-horse"},
        },
    )
    record = only(exported)
    assert "correct-horse" not in str(record.attributes)
    assert record.attributes["error"].startswith("HTTP 401 for ")


def test_stderr_does_not_show_the_further_attributes(capsys, exported):
    """Attributes for OTLP only leave the line on stderr as it is."""
    logs.configure(json=True)
    APP.warning("alert fired", extra={"alert": "Down", logs.OTLP_ATTRIBUTES: {"canary": "chat"}})
    line = capsys.readouterr().err
    assert (True, False) == ('"alert":"Down"' in line, "canary" in line.replace("streamcanary", ""))


def test_fields_are_bounded(exported):
    """A line of a megabyte, and one with hundreds of fields, are truncated."""
    APP.warning("x" * 1_000_000, extra={f"field_{number}": "y" * 10_000 for number in range(500)})
    record = only(exported)
    assert len(record.body) <= 2000
    assert len(record.attributes) <= 40
    assert max(len(str(value)) for value in record.attributes.values()) <= 2000


@pytest.mark.parametrize(
    "name",
    [
        "streamcanary.telemetry.otlp.export_failures",
        "opentelemetry.sdk._logs",
        "urllib3.connectionpool",
        "grpc._plugin",
        "requests",
    ],
)
def test_lines_about_the_export_are_not_exported(exported, name):
    """A failed export logs a line; exporting that would fail, too, and log a line."""
    logging.getLogger(name).propagate = True
    logging.getLogger(name).warning("telemetry export failed")
    assert () == exported.get_finished_logs()


def test_lines_within_an_export_are_not_exported(exported):
    """The context in which the SDK exports excludes the lines of any library."""
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    APP.warning("store failed")
    detach(token)
    assert () == exported.get_finished_logs()


def test_lines_below_warning_are_not_exported(exported):
    """Lines of normal operation are on stderr only."""
    APP.info("run finished")
    assert () == exported.get_finished_logs()


async def test_logs_that_cannot_be_exported_are_counted(caplog):
    """With a refusing endpoint the loss is logged once for each signal, and the logs about it are not exported."""
    telemetry = Telemetry(environ={}, make_global=False)
    otlp = {"endpoint": "http://127.0.0.1:9", "timeout": "100ms", "signals": ["logs"]}
    telemetry.prepare(TelemetryConfig(otlp=otlp, prometheus=False))
    telemetry.apply()
    with caplog.at_level(logging.WARNING):
        APP.warning("alert fired")
        await telemetry.close()
        APP.warning("after the end")
    failures = [record.signal for record in caplog.records if "telemetry export failed" in record.getMessage()]
    assert {"logs"} == set(failures)
    assert (None, None) == (telemetry.tracer_provider, telemetry.meter_provider)
    assert 2 >= telemetry._trackers["logs"].lost_batches > 0
