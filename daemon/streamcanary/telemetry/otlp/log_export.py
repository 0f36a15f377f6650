"""Exports warnings and errors over OTLP: alerts, failed notifications, exceptions. Importing this imports the SDK.

stderr has every line; OTLP has the lines from level ``warning`` up. Both are redacted and bounded by the same code.
https://opentelemetry.io/docs/specs/otel/logs/data-model/
"""

import logging
import re
from typing import Any, Final

from opentelemetry import trace
from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context, get_value
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from streamcanary import __version__
from streamcanary.model import names
from streamcanary.telemetry.logs import OTLP_ATTRIBUTES, redacted_event

_MAX_QUEUED_RECORDS = 2048  # when the queue is full, the oldest records are dropped
_MAX_RECORDS_PER_EXPORT = 512
_EXPORT_DELAY = 2.0  # seconds between two exports of a partial batch

_EXCLUDED: Final = ("grpc", "opentelemetry", "requests", "streamcanary.telemetry", "urllib3")
"""Loggers of the export itself. Their lines would fail to be exported, which would be logged, and so on."""

_EVENT_MESSAGE: Final = re.compile(r"[a-z]+(?: [a-z]+){1,7}")
_SEVERITIES: Final = (
    (logging.CRITICAL, SeverityNumber.FATAL, "FATAL"),
    (logging.ERROR, SeverityNumber.ERROR, "ERROR"),
    (logging.WARNING, SeverityNumber.WARN, "WARN"),
)


class LogExportHandler(logging.Handler):
    """Passes log lines to ``logger``, which queues them and never blocks.

    A message of this package is the name of an event: ``alert fired`` has the event name ``streamcanary.alert.fired``.
    The trace context is that of the line's ``trace_id``, else that of the last of its ``trace_ids``.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is exported: not a line about the export itself."""
        if any(record.name == name or record.name.startswith(f"{name}.") for name in _EXCLUDED):
            return False
        return not get_value(_SUPPRESS_INSTRUMENTATION_KEY) and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Queue ``record``, redacted."""
        try:
            self._logger.emit(to_log_record(record))
        except Exception:  # noqa: BLE001 - a line that cannot be converted is on stderr; logging goes on
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Ignore that ``record`` could not be exported: stderr has the line, or the error of its conversion."""


def to_log_record(record: logging.LogRecord) -> LogRecord:
    """Return ``record`` for OTLP, redacted as on stderr."""
    event = redacted_event(record)
    message = event.pop("message", "")
    attributes: dict[str, Any] = {"logger": event.pop("logger", record.name)}
    for field in ("level", "time"):
        event.pop(field, None)
    context = _context_of(event)
    if (stacktrace := event.pop("exception", None)) is not None:
        attributes[names.EXCEPTION_STACKTRACE] = stacktrace
        if record.exc_info and record.exc_info[0] is not None:
            attributes[names.EXCEPTION_TYPE] = record.exc_info[0].__qualname__
    further = event.pop(OTLP_ATTRIBUTES, None)
    attributes |= {key: value for key, value in event.items() if value is not None}
    if isinstance(further, dict):
        attributes |= further
    _, number, text = next(
        (each for each in _SEVERITIES if record.levelno >= each[0]), (0, SeverityNumber.INFO, "INFO")
    )
    return LogRecord(
        timestamp=int(record.created * 1e9),
        context=context,
        severity_number=number,
        severity_text=text,
        body=message,
        attributes=attributes,
        event_name=event_name(record.name, message),
    )


def event_name(logger: str, message: str) -> str | None:
    """Return the name of the event that a line of ``logger`` with ``message`` is; ``None`` if it is none of ours."""
    is_ours = logger == names.INSTRUMENTATION_SCOPE or logger.startswith(f"{names.INSTRUMENTATION_SCOPE}.")
    if not is_ours or not _EVENT_MESSAGE.fullmatch(message):
        return None
    return f"{names.INSTRUMENTATION_SCOPE}.{message.replace(' ', '.')}"


def _context_of(event: dict[str, Any]) -> Context:
    """Take the ids of the trace and the span out of ``event``; of the traces of an alert, the last is used."""
    trace_id, span_id = event.pop("trace_id", None), event.pop("span_id", None)
    if trace_id is None and isinstance(event.get("trace_ids"), list) and event["trace_ids"]:
        trace_id = event["trace_ids"][-1]
    ids = SpanContext(
        _from_hex(trace_id, 32), _from_hex(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return trace.set_span_in_context(NonRecordingSpan(ids), Context()) if ids.trace_id else Context()


def _from_hex(text: object, length: int) -> int:
    if not isinstance(text, str) or not re.fullmatch(f"[0-9a-f]{{{length}}}", text):
        return 0
    return int(text, 16)


def create_logger_provider(exporter: LogRecordExporter, resource: Resource) -> LoggerProvider:
    """Return a provider that queues records, at most 2,048, and exports them in batches every two seconds."""
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_log_record_processor(
        BatchLogRecordProcessor(
            exporter,
            schedule_delay_millis=_EXPORT_DELAY * 1000,
            max_export_batch_size=_MAX_RECORDS_PER_EXPORT,
            max_queue_size=_MAX_QUEUED_RECORDS,
        )
    )
    return provider


def create_log_handler(provider: LoggerProvider) -> LogExportHandler:
    """Return the handler that exports through ``provider``."""
    return LogExportHandler(provider.get_logger(names.INSTRUMENTATION_SCOPE, __version__))
