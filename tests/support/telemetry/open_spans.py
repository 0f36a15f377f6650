"""Spans that are counted while they are open."""

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import Tracer


class OpenSpans(SpanProcessor):
    """Counts the spans of its own tracer: ``open`` have begun and not ended."""

    def __init__(self) -> None:
        self.open = 0
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self)
        self.tracer: Tracer = provider.get_tracer("test")

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Count one in."""
        self.open += 1

    def on_end(self, span: ReadableSpan) -> None:
        """Count one out."""
        self.open -= 1
