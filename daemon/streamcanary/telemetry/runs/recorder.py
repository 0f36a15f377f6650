"""Collects the spans of each run until the run has ended. Importing this module imports the SDK."""

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from streamcanary.model import names
from streamcanary.telemetry.runs.store import RunStore
from streamcanary.telemetry.runs.tree import build_trace, summarize

MAX_SPANS = 64
"""Spans of one run that are kept, without its root; a run has a call and at most 20 attempts on each of its routes."""
MAX_OPEN_RUNS = 10_000
"""Runs at the same time of which spans are collected."""
_MAX_UNBUILT_SPANS = 8  # of a run that is kept as its spans: a few kB


class RunRecorder(SpanProcessor):
    """Collects the spans of each run, a trace whose root is ``streamcanary.run``, and adds it to ``store``.

    A run starts and ends in the thread of the event loop. A span below it can end in any thread: garbage collection
    ends those of a dropped stream. ``has_content``: spans may have prompts and answers, and are not kept as they are,
    because they are long.
    """

    def __init__(self, store: RunStore, *, has_content: bool = False) -> None:
        self._store = store
        self._has_content = has_content
        self._open: dict[int, list[ReadableSpan]] = {}  # by trace id; without the root
        self._omitted: dict[int, int] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Begin to collect the spans of a run."""
        if span.parent is None and span.name == names.RUN_SPAN and len(self._open) < MAX_OPEN_RUNS:
            self._open[span.context.trace_id] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Collect a span; the root is the last one of its run."""
        trace_id = span.context.trace_id
        spans = self._open.get(trace_id)
        if spans is None:
            return
        if span.parent is None:
            del self._open[trace_id]
            omitted = self._omitted.pop(trace_id, 0)
            summary = summarize(span, spans)
            if len(spans) > _MAX_UNBUILT_SPANS or self._has_content:
                self._store.add(build_trace(span, spans, summary, omitted=omitted))
            else:
                self._store.add_finished(summary, lambda: build_trace(span, spans, summary, omitted=omitted))
        elif len(spans) < MAX_SPANS or span.name != names.ATTEMPT_SPAN:
            spans.append(span)
        else:
            self._omitted[trace_id] = self._omitted.get(trace_id, 0) + 1

    def shutdown(self) -> None:
        """Do nothing: runs that have not ended are not kept."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: each run is kept at its end."""
        return True


class RecordAll(Sampler):
    """Records every span, also one that ``sampler`` drops, which is then not exported.

    The failed run that somebody looks for must be there whatever share of traces is sampled for the backend.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Return the decision of the sampler, with ``RECORD_ONLY`` in place of ``DROP``."""
        result = self._sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        if result.decision is not Decision.DROP:
            return result
        return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)

    def get_description(self) -> str:
        """Return a description for people."""
        return f"RecordAll({self._sampler.get_description()})"
