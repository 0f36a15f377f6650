"""Exemplars as series keep them: the last measurement of each bucket that was made in a sampled span."""

from collections.abc import Mapping
from time import time_ns

from msgspec import Struct
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.trace import get_current_span


class KeptExemplar(Struct, gc=False):
    """The value of a measurement, its time in nanoseconds since the epoch, and the span in whose context it was made.

    With its ids only: each run leaves a dozen, and garbage collection would visit the contexts of their spans.

    ``text`` is its text for OpenMetrics, once it has been rendered: most exemplars stay for many scrapes.
    """

    value: float
    time: int
    trace_id: int
    span_id: int
    text: str = ""


def exemplar_of(value: float, context: Context | None) -> KeptExemplar | None:
    """Return ``value`` as an exemplar of now; ``None`` if there is no sampled span.

    The span is that of ``context``, by default of the current one.
    """
    span_context = get_current_span(context).get_span_context()
    if not span_context.trace_flags.sampled:
        return None
    return KeptExemplar(value, time_ns(), span_context.trace_id, span_context.span_id)


def new_exemplars(exemplars: Mapping[int, KeptExemplar] | None, since: int) -> list[Exemplar]:
    """Return the ``exemplars`` after ``since`` (nanoseconds since the epoch), for OTLP."""
    return [
        Exemplar({}, kept.value, kept.time, kept.span_id, kept.trace_id)
        for kept in (dict(exemplars) if exemplars else {}).values()
        if kept.time > since
    ]
