"""SDK providers that record spans and metrics in memory, and queries on the records."""

import sys
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

Tree = tuple[str, dict[str, Any], list["Tree"]]


class RecordedTelemetry:
    """The recorded spans and metrics. Counters are never reset, so a test compares values before and after."""

    def __init__(self, spans: InMemorySpanExporter, reader: InMemoryMetricReader) -> None:
        self._spans = spans
        self._reader = reader

    def clear(self) -> None:
        """Drop the spans recorded so far."""
        self._spans.clear()

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that have ended, in the order of their end."""
        return self._spans.get_finished_spans()

    @property
    def metrics_text(self) -> str:
        """All metrics as JSON: names, labels, values and exemplars."""
        data = self._reader.get_metrics_data()
        return "" if data is None else data.to_json()

    def trees(self, *keys: str) -> list[Tree]:
        """Return the spans as trees, roots in order of start, with their status and the attributes ``keys``."""

        def tree(span: ReadableSpan) -> Tree:
            attributes: dict[str, Any] = {"status": span.status.status_code.name}
            attributes |= {key: value for key, value in (span.attributes or {}).items() if key in keys}
            children = [s for s in self.spans if s.parent and s.parent.span_id == span.context.span_id]
            children.sort(key=lambda s: (s.start_time or 0, s.end_time or 0))
            return span.name, attributes, [tree(child) for child in children]

        ids = {span.context.span_id for span in self.spans}
        roots = [span for span in self.spans if span.parent is None or span.parent.span_id not in ids]
        return [tree(span) for span in sorted(roots, key=lambda s: s.start_time or 0)]

    def value(self, metric: str, **labels: str) -> float:
        """Return the value (the count of a histogram) of ``metric``, summed over the points that have ``labels``."""
        wanted = {key.replace("__", "."): value for key, value in labels.items()}
        return sum(
            point.value if hasattr(point, "value") else point.count
            for point in self._points(metric)
            if wanted.items() <= dict(point.attributes).items()
        )

    def scopes(self) -> set[tuple[str, str | None]]:
        """Return the name and version of each instrumentation scope of the spans, and of the metrics of all tests."""
        data = self._reader.get_metrics_data()
        scopes = [span.instrumentation_scope for span in self.spans]
        scopes += (
            [scope.scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        )
        return {(scope.name, scope.version) for scope in scopes if scope is not None}

    def series(self, **labels: str) -> int:
        """Return the number of series with ``labels``; a histogram has as many as in Prometheus."""
        points = [point for point in self._points() if labels.items() <= dict(point.attributes).items()]
        return sum(len(point.bucket_counts) + 2 if hasattr(point, "bucket_counts") else 1 for point in points)

    def _points(self, metric: str | None = None) -> list[Any]:
        data = self._reader.get_metrics_data()
        if data is None:
            return []
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for found in scope.metrics
            if metric in (None, found.name)
            for point in found.data.data_points
        ]


def install_in_memory_providers() -> RecordedTelemetry:
    """Install SDK providers that keep all spans and metrics of this process in memory."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(tracing)
    # Each test asks another port, which is a label: over the SDK's 2,000 series, the labels of a test would be missing.
    unlimited = View(instrument_name="*", aggregation_cardinality_limit=sys.maxsize)
    metrics.set_meter_provider(MeterProvider([reader], views=[unlimited]))
    return RecordedTelemetry(spans, reader)
