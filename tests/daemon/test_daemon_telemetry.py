"""What a real OpenTelemetry Collector receives from the daemon; without an endpoint nothing is exported."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streamcanary.model import names
from streamcanary.model.outcome import OutcomeKind
from support.programs.collector import Collector, Point, Span
from support.programs.daemon import Daemon
from support.programs.program import poll_until
from support.servers.provider import MODEL, FakeProvider

LABELS = {"target": "sim", "provider": "simulator"}
EXPORTER = "google/_upb"  # what encodes OTLP, as the kernel sees it: a shared object of protobuf


def config(provider: FakeProvider, **telemetry: Any) -> dict[str, Any]:
    """Return four canaries: one succeeds, one succeeds after retries, one fails over, and one can fail."""
    canary = {"target": "sim", "every": "2s", "retry": {"max_attempts": 3, "base_delay": "10ms"}}
    return {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {
            "steady": {**canary, "model": "sim-ok", "request": {"stream_options": {"include_usage": True}}},
            "rescued": {**canary, "model": "sim-500@2"},
            "failed-over": {**canary, "model": "sim-truncated", "fallbacks": [{"model": "sim-ok"}]},
            "changing": {**canary, "model": MODEL, "request": {"max_completion_tokens": 64}},
        },
        "telemetry": telemetry,
    }


async def export_an_outage(folder: Path, provider: FakeProvider, collector: Collector) -> Daemon:
    """Run the daemon into an outage, and stop it with SIGTERM."""
    otlp = {"endpoint": collector.otlp_endpoint, "interval": "1s"}
    async with Daemon(folder, config(provider, otlp=otlp, resource={"service.namespace": "llm"})) as daemon:
        assert daemon.has_mapped_file(EXPORTER)
        await daemon.wait_for_log("run finished", canary="changing", outcome="ok")
        await collector.points(names.RUNS.name, within=60)
        provider.set_fault("cut")
        for canary in ("steady", "rescued", "failed-over"):
            await daemon.wait_for_log("run finished", 2, canary=canary)
        await daemon.wait_for_log("run finished", 2, canary="changing", outcome="failed")
        assert 0 == (await daemon.terminate()).code
    return daemon


@pytest.mark.real("otelcol")
async def test_the_collector_receives_every_run_as_spans_and_in_metrics(tmp_path: Path) -> None:
    """Each run in the log has arrived with all its spans, the last ones at SIGTERM; spans and metrics agree."""
    async with FakeProvider() as provider, Collector(tmp_path) as collector:
        daemon = await export_an_outage(tmp_path / "daemon", provider, collector)
        runs = {
            line["trace_id"]: line
            for line in daemon.log_lines("run finished")
            if line["outcome"] != OutcomeKind.SKIPPED
        }
        await collector.spans(len(runs), name=names.RUN_SPAN)
        spans = await collector.spans()
        await poll_until(lambda: all_are_counted(collector, len(runs)), 20, lambda: f"{len(runs)} runs, not counted")
        points = [point for metric in METRICS for point in await collector.points(metric.name)]
        history = list(collector.history(names.RUNS.name))
    traces = [Trace(spans, trace_id) for trace_id in runs]

    assert set(runs) == {span.trace_id for span in spans if span.name == names.RUN_SPAN}
    for trace, line in zip(traces, runs.values(), strict=True):
        check_tree(trace, line)
    check_first_run_of_rescued(next(trace for trace in traces if trace.canary == "rescued"))
    check_failed_over(next(trace for trace in traces if trace.canary == "failed-over"))
    check_failed(next(trace for trace in traces if trace.outcome == "failed"))
    check_counts(traces, points)
    check_histograms(traces, points)
    check_initial_zeros(history)
    assert {"llm"} == {span.resource["service.namespace"] for span in spans}
    assert {"streamcanary"} == {span.resource["service.name"] for span in spans} | {span.scope for span in spans}


async def all_are_counted(collector: Collector, runs: int) -> bool | None:
    """Return whether the last export has arrived: it counts every run."""
    points = await collector.points(names.RUNS.name)
    return runs == sum(count(points, names.RUNS, "canary").values()) or None


class Trace:
    """One run, as its spans."""

    def __init__(self, spans: list[Span], trace_id: str) -> None:
        mine = [span for span in spans if span.trace_id == trace_id]
        [self.run] = (span for span in mine if not span.parent_id)
        [self.call] = (span for span in mine if span.parent_id == self.run.span_id)
        self.attempts = [span for span in mine if span.parent_id == self.call.span_id]
        assert len(mine) == 2 + len(self.attempts)
        self.canary = self.run.attributes[names.RUN_CANARY]
        self.outcome = self.run.attributes[names.RUN_OUTCOME]


def check_tree(trace: Trace, line: dict[str, Any]) -> None:
    """Assert that a tree has three nested levels, in order, and agrees with the log."""
    model = {"steady": "sim-ok", "rescued": "sim-500@2", "failed-over": "sim-truncated", "changing": MODEL}[
        trace.canary
    ]
    assert (names.RUN_SPAN, "INTERNAL") == (trace.run.name, trace.run.kind)
    assert (f"chat {model}", "CLIENT") == (trace.call.name, trace.call.kind)
    assert {(names.ATTEMPT_SPAN, "CLIENT")} == {(span.name, span.kind) for span in trace.attempts}
    assert (line["canary"], line["outcome"], line["attempts"]) == (trace.canary, trace.outcome, len(trace.attempts))
    assert len(trace.attempts) == trace.call.attributes[names.CALL_ATTEMPTS]
    assert [None, *range(1, len(trace.attempts))] == [
        span.attributes.get(names.HTTP_RESEND_COUNT) for span in trace.attempts
    ]
    ends = [trace.run.start, trace.call.start, *(moment for a in trace.attempts for moment in (a.start, a.end))]
    assert sorted(ends) == ends
    assert trace.attempts[-1].end <= trace.call.end <= trace.run.end + 1e-3
    assert "test" == trace.run.attributes[names.SYNTHETIC_TYPE]
    assert "sim" == trace.run.attributes[names.RUN_TARGET]
    assert ("chat", "simulator", model) == tuple(
        trace.call.attributes[name] for name in (names.OPERATION, names.PROVIDER, names.REQUEST_MODEL)
    )
    assert not [name for span in trace.attempts for name in span.attributes if name.startswith("gen_ai.")]
    for span in (trace.run, trace.call, *trace.attempts):
        assert (span.status == "ERROR") == (names.ERROR_TYPE in span.attributes) or trace.outcome == "failed_over"


def check_first_run_of_rescued(trace: Trace) -> None:
    """Assert that a call that succeeded after two retries is not an error, and that its failed attempts are."""
    assert [500, 500, 200] == [span.attributes[names.HTTP_STATUS] for span in trace.attempts]
    assert ["ERROR", "ERROR", "UNSET"] == [span.status for span in trace.attempts]
    assert ["server_error", "server_error", None] == [span.attributes.get(names.ERROR_TYPE) for span in trace.attempts]
    assert ("UNSET", "UNSET") == (trace.call.status, trace.run.status)
    assert 2 == trace.call.events.count(names.RETRY_SCHEDULED_EVENT)


def check_failed_over(trace: Trace) -> None:
    """Assert that an answer from a fallback names the model that answered and the fault of the primary."""
    assert "failed_over" == trace.outcome
    assert ["sim-truncated"] * 3 + ["sim-ok"] == [span.attributes[names.ATTEMPT_ROUTE] for span in trace.attempts]
    assert "fallback" == trace.call.attributes[names.CALL_DEGRADED]
    assert "sim-ok" == trace.call.attributes[names.RESPONSE_MODEL]
    assert "stream_truncated" == trace.run.attributes[names.ERROR_TYPE]


def check_failed(trace: Trace) -> None:
    """Assert that a failure is an error on every level, of the same kind."""
    spans = (trace.run, trace.call, *trace.attempts)
    assert ["stream_cut"] * 5 == [span.attributes[names.ERROR_TYPE] for span in spans]
    assert ["ERROR"] * 5 == [span.status for span in spans]
    assert all(span.status_message for span in spans)
    assert 64 == trace.call.attributes[names.REQUEST_MAX_TOKENS]


METRICS = (
    names.RUNS,
    names.FAILURES,
    names.ATTEMPTS,
    names.OPERATION_DURATION,
    names.TIME_TO_FIRST_CHUNK,
    names.TOKEN_USAGE,
    names.ATTEMPT_DURATION,
    names.MAX_GAP,
    names.RETRY_DELAY,
    names.FIRST_TOKEN_TIME,
    names.SCHEDULE_LAG,
)


def check_counts(traces: list[Trace], points: list[Point]) -> None:
    """Assert that the counters agree with the spans, by ``error.type``."""
    runs = Counter((t.canary, t.outcome) for t in traces)
    assert runs == count(points, names.RUNS, "canary", "outcome")
    faults = ((t.canary, t.outcome, t.run.attributes.get(names.ERROR_TYPE)) for t in traces)
    failures = Counter(fault for fault in faults if fault[-1] is not None)
    assert failures == count(points, names.FAILURES, "canary", "outcome", "error.type")
    attempts = Counter(
        (t.canary, span.attributes[names.ATTEMPT_ROUTE], span.attributes.get(names.ERROR_TYPE))
        for t in traces
        for span in t.attempts
    )
    assert attempts == count(points, names.ATTEMPTS, "canary", "route", "error.type")
    assert {"network", "provider"} == {p.attributes["blame"] for p in points if "blame" in p.attributes}
    assert all(LABELS.items() <= point.attributes.items() for point in points)
    assert not [point for point in points if names.RUN_ID in point.attributes]
    assert {metric.name: metric.unit for metric in METRICS} == {point.metric: point.unit for point in points}


def count(points: list[Point], metric: names.Metric, *keys: str) -> Counter[tuple[str | None, ...]]:
    """Return the values of a counter by some of its labels, without zeros and skipped runs."""
    counts: Counter[tuple[str | None, ...]] = Counter()
    for point in points:
        happened = point.attributes.get("outcome") != OutcomeKind.SKIPPED
        if point.metric == metric.name and point.value and happened:
            counts[tuple(point.attributes.get(key) for key in keys)] += int(point.value)
    return counts


def check_histograms(traces: list[Trace], points: list[Point]) -> None:
    """Assert that every histogram has the buckets of the table, and one value for each span."""
    for metric in METRICS:
        bounds = {point.bounds for point in points if point.metric == metric.name}
        assert {metric.buckets or ()} == bounds, metric.name
    assert len(traces) == sum(p.value for p in points if p.metric == names.OPERATION_DURATION.name)
    assert len(traces) == sum(p.value for p in points if p.metric == names.SCHEDULE_LAG.name)
    attempts = [span for trace in traces for span in trace.attempts]
    assert len(attempts) == sum(p.value for p in points if p.metric == names.ATTEMPT_DURATION.name)
    retries = [span for span in attempts if names.HTTP_RESEND_COUNT in span.attributes]
    assert len(retries) == sum(p.value for p in points if p.metric == names.RETRY_DELAY.name)


def check_initial_zeros(history: list[Point]) -> None:
    """Assert that each canary's outcomes were exported at zero first: `increase()` sees the first error."""
    first: dict[tuple[str, str], float] = {}
    for point in history:
        first.setdefault((point.attributes["canary"], point.attributes["outcome"]), point.value)
    canaries = ("steady", "rescued", "failed-over", "changing")
    assert {(canary, kind.value) for canary in canaries for kind in OutcomeKind} == set(first)
    assert 0 == first["changing", "failed"]


async def test_without_an_endpoint_nothing_is_exported_or_logged(tmp_path: Path) -> None:
    """No exporter is loaded, and the log has lines of streamcanary only, and no warning."""
    async with FakeProvider() as provider, Daemon(tmp_path / "daemon", config(provider)) as daemon:
        await daemon.wait_for_log("run finished", 2, canary="steady")
        assert not daemon.has_mapped_file(EXPORTER)
        assert 0 == (await daemon.terminate()).code
    assert {"streamcanary"} == {line["logger"].partition(".")[0] for line in daemon.log}
    assert [] == daemon.logged_problems
    assert "" == daemon.stdout
