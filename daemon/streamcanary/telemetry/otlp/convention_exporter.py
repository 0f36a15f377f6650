"""Adds the attributes of further conventions to spans on their way to the exporter. Importing it imports the SDK."""

from collections.abc import Collection, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from streamcanary.telemetry.config import Convention
from streamcanary.telemetry.otlp.conventions import convention_attributes


class ConventionExporter(SpanExporter):
    """Passes spans to ``exporter``, with the attributes of ``conventions`` added."""

    def __init__(self, exporter: SpanExporter, conventions: Collection[Convention]) -> None:
        self._exporter = exporter
        self._conventions = conventions

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export ``spans``."""
        return self._exporter.export([self._with_attributes(span) for span in spans])

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return self._exporter.force_flush(timeout_millis)

    def _with_attributes(self, span: ReadableSpan) -> ReadableSpan:
        attributes = span.attributes or {}
        further = convention_attributes(self._conventions, span.name, attributes, span.start_time or 0)
        if not further:
            return span
        return ReadableSpan(
            name=span.name,
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes={**attributes, **further},
            events=span.events,
            links=span.links,
            kind=span.kind,
            status=span.status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
