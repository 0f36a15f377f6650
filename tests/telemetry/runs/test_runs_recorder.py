"""Finished runs are recorded as trees of their spans, with or without an endpoint, whatever is sampled."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, Status, StatusCode

from streamcanary.model.run_trace import TraceSpan
from streamcanary.telemetry.config import TelemetryConfig
from streamcanary.telemetry.providers import Telemetry
from streamcanary.telemetry.runs.recorder import MAX_SPANS
from streamcanary.telemetry.runs.store import RunStore

START = 1_800_000_000_000_000_000  # nanoseconds since the epoch
MILLISECOND = 1_000_000


@pytest.fixture
def store() -> RunStore:
    return RunStore()


def telemetry(store: RunStore, **environ: str) -> Telemetry:
    """Return telemetry without an endpoint that keeps runs in ``store``."""
    telemetry = Telemetry(environ=environ, make_global=False, runs=store)
    telemetry.prepare(TelemetryConfig(prometheus=False))
    telemetry.apply()
    return telemetry


def start(provider: TracerProvider, name: str, parent: Span | None = None, at: int = 0, **attributes: Any) -> Span:
    """Start a span ``at`` milliseconds after the start."""
    context = trace.set_span_in_context(parent, Context()) if parent else Context()
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    return provider.get_tracer("test").start_span(name, context, attributes=named, start_time=START + at * MILLISECOND)


def end(span: Span, at: int) -> None:
    """End ``span`` so many milliseconds after the start."""
    span.end(START + at * MILLISECOND)


def record_run(provider: TracerProvider, run_id: str = "r", *, attempts: int = 1) -> str:
    """Record a failed run with ``attempts`` attempts of 10 ms each; return its trace id."""
    run = start(provider, "streamcanary.run", streamcanary__run__id=run_id, streamcanary__canary="chat")
    call = start(provider, "chat gpt", run, at=1)
    for number in range(attempts):
        attempt = start(provider, "POST", call, at=1 + 10 * number, http__request__resend_count=number)
        attempt.add_event("streamcanary.first_token", {"x": (1, 2)}, START + (5 + 10 * number) * MILLISECOND)
        attempt.set_status(Status(StatusCode.ERROR, "stalled: no further token within 5 s"))
        end(attempt, 11 + 10 * number)
    call.set_attribute("streamcanary.attempts", attempts)
    end(call, 2 + 10 * attempts)
    run.set_attributes({"streamcanary.outcome": "failed", "error.type": "stalled"})
    run.set_status(Status(StatusCode.ERROR, "stalled: no further token within 5 s"))
    end(run, 3 + 10 * attempts)
    return f"{run.get_span_context().trace_id:032x}"


def shape(span: TraceSpan) -> tuple[str, float, float, list[Any]]:
    """Return the tree of ``span`` as names with offsets and durations in milliseconds."""
    return (
        span.name,
        round(span.offset * 1000),
        round(span.duration * 1000),
        [shape(child) for child in span.children],
    )


@pytest.fixture
def provider(store: RunStore) -> Iterator[TracerProvider]:
    provider = telemetry(store).tracer_provider
    assert provider is not None
    yield provider
    provider.shutdown()


def test_a_run_is_recorded_as_a_tree(provider: TracerProvider, store: RunStore) -> None:
    """The spans of a run are in their places, with times from the start of the run, status, message and events."""
    trace_id = record_run(provider, attempts=2)
    found = store.find(trace_id)
    assert found is not None
    attempts = [("POST", 1, 10, []), ("POST", 11, 10, [])]
    assert ("streamcanary.run", 0, 23, [("chat gpt", 1, 21, attempts)]) == shape(found.root)
    attempt = found.root.children[0].children[1]
    assert ("error", "stalled: no further token within 5 s") == (attempt.status, attempt.message)
    assert {"http.request.resend_count": 1} == attempt.attributes
    [event] = attempt.events
    assert ("streamcanary.first_token", 0.015, {"x": [1, 2]}) == (event.name, event.offset, event.attributes)


def test_the_summary_of_a_run_has_its_outcome_and_fault(provider: TracerProvider, store: RunStore) -> None:
    """The list shows what happened without the spans."""
    trace_id = record_run(provider, attempts=3)
    [run] = store.list_runs().runs
    assert ("r", trace_id, "chat", "failed", "stalled") == (
        run.run_id,
        run.trace_id,
        run.canary,
        run.outcome,
        run.fault,
    )
    assert (3, "stalled: no further token within 5 s") == (run.attempts, run.message)
    assert ("2027-01-15T08:00:00+00:00", 0.033) == (run.started.isoformat(), run.duration)


def test_a_run_that_is_no_error_has_its_reason(provider: TracerProvider, store: RunStore) -> None:
    """The span of a slow run, or of one that failed over, has no status: the summary has the reason."""
    run = start(provider, "streamcanary.run", streamcanary__reason="first token 2.10 s, over the objective of 2 s")
    run.set_attribute("streamcanary.outcome", "slow")
    end(run, 7)
    assert ["first token 2.10 s, over the objective of 2 s"] == [one.message for one in store.list_runs().runs]


def test_a_trace_that_is_no_run_is_not_recorded(provider: TracerProvider, store: RunStore) -> None:
    """Spans of other traces are ignored, and a span that ends after its run is left out."""
    end(start(provider, "chat gpt"), 1)
    run = start(provider, "streamcanary.run", streamcanary__outcome="ok")
    late = start(provider, "chat gpt", run)
    end(run, 1)
    end(late, 2)
    assert [[]] == [one.root.children for summary in store.list_runs().runs if (one := store.find(summary.trace_id))]


def test_the_spans_of_a_run_are_bounded(provider: TracerProvider, store: RunStore) -> None:
    """Of very many attempts, the first ones are kept, and the number of the others."""
    trace_id = record_run(provider, attempts=MAX_SPANS + 5)
    found = store.find(trace_id)
    assert found is not None
    assert (MAX_SPANS, 5) == (len(found.root.children[0].children), found.omitted_spans)


async def test_every_run_is_recorded_whatever_is_sampled(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sampler that drops all traces nothing is exported, and the run is kept."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    provider = telemetry(store).tracer_provider
    assert provider is not None
    exported = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    record_run(provider)
    assert (1, ()) == (len(store), exported.get_finished_spans())


def test_a_disabled_sdk_records_nothing(store: RunStore) -> None:
    """With OTEL_SDK_DISABLED there is no provider."""
    assert None is telemetry(store, OTEL_SDK_DISABLED="true").tracer_provider
