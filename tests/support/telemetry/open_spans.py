"""Counts open spans."""

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import Tracer


class OpenSpans(SpanProcessor):
    """Counts the spans of its tracer: ``open`` is the number of spans that have started and not ended."""

    def __init__(self) -> None:
        self.open = 0
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self)
        self.tracer: Tracer = provider.get_tracer("test")

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Increment ``open``."""
        self.open += 1

    def on_end(self, span: ReadableSpan) -> None:
        """Decrement ``open``."""
        self.open -= 1
