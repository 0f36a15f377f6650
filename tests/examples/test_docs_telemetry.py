"""The page on telemetry lists exactly the recorded spans, attributes and metrics."""

from collections import defaultdict

from tools.docs.page import words
from tools.docs.product import names

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.simulator import Simulator
from streamcanary.simulator.timings import Timings
from support.servers.certificates import LOOPBACK, server_tls_context
from support.telemetry.in_memory import RecordedTelemetry

CLOCK = SystemClock()
TIMINGS = Timings(first_token=0.001, chunk_gap=0.002, hang=900.0)
"""Without a gap between the chunks, an answer has no output speed."""
NAME = "documented"
ELSEWHERE = {
    metric.name
    for metric in (
        names.ALERT_ACTIVE,  # recorded by alerting
        names.ALERT_BASE_RATE,  # recorded by alerting
        names.CANARY_INFO,  # recorded by the scheduler, as are the next two
        names.CANARY_INTERVAL,
        names.RUNS_MISSED,
        names.SPEND,  # recorded by the daemon, which has the prices
        names.TIME_PER_OUTPUT_CHUNK,  # recorded by clients that enable it
    )
}
"""Metrics of canaries that are not recorded by a run."""
RUNS = (
    {"model": "sim-ok", "request": {"max_completion_tokens": 64, "stream_options": {"include_usage": True}}},
    {"model": "sim-ok", "slo": {"duration": 0.000001}},
    {"model": "sim-ok", "api": "responses", "request": {"instructions": "Be brief."}},
    {"model": "sim-cut@1"},
    {"model": "sim-500"},
    {"model": "sim-cut", "fallbacks": [{"model": "sim-ok"}]},
    {"model": "sim-other-model@1"},
    {"model": "sim-retiring"},
)


async def record() -> list[CanaryRunners]:
    """Run canaries that succeed, by both APIs, are slow, retried, fail, fall back, change their model, and are retired.

    Returns their runners: the gauges of what a provider reports are exported as long as these exist.
    """
    used = []
    async with Simulator(timings=TIMINGS, ssl=server_tls_context(LOOPBACK)) as simulator:
        base_url = simulator.base_url.replace("127.0.0.1", "localhost")
        price = {"input": 1, "output": 1}
        target = TargetSpec.model_validate(
            {"base_url": base_url, "api_key": "none", "price": price, "ca_file": LOOPBACK}
        )
        for run in RUNS:
            retry = {"max_attempts": 2, "base_delay": 0.001, "max_delay": 0.001}
            canary = CanarySpec.model_validate({"target": "sim", "every": "30s", "retry": retry, **run})
            runners = CanaryRunners({"sim": target}, {NAME: canary}, clock=CLOCK, capture_content=True)
            async with runners:
                for _ in range(2):
                    await runners.by_name[NAME](CLOCK.time())
            used.append(runners)
    return used


async def test_spans_have_the_attributes_of_the_page(recorded: RecordedTelemetry) -> None:
    """The page lists each recorded attribute under its span or its event, and each listed attribute is recorded."""
    await record()
    seen: dict[str, set[str]] = defaultdict(set)
    for span in recorded.spans:
        place = {names.RUN_SPAN: "run", names.ATTEMPT_SPAN: "attempt"}.get(span.name, "call")
        seen[place] |= set(span.attributes or ())
        seen["events"] |= {event.name for event in span.events}
        seen["event"] |= {name for event in span.events for name in event.attributes or ()}
    descriptions = words("telemetry")
    described: dict[str, set[str]] = {"events": set(descriptions["events"])}
    for place in ("run", "call", "attempt", "event"):
        described[place] = {name for name, entry in descriptions["attributes"].items() if place in entry["on"]}
    assert described == dict(seen)


async def test_metrics_have_the_labels_of_the_page(recorded: RecordedTelemetry) -> None:
    """Each metric of a canary has the labels on the page, some of them only on failure."""
    used = await record()
    descriptions = words("telemetry")
    found = {}
    for metric, labels in descriptions["metrics"].items():
        expected = {each for label in labels for each in descriptions["sets"].get(label, [label])}
        expected.discard(names.RESPONSE_MODEL)  # of clients only
        points = [dict(point.attributes) for point in recorded._points(metric)]
        canary_points = [point for point in points if point.get("canary") == NAME]
        if canary_points:
            found[metric] = (expected, {label for point in canary_points for label in point})
    assert {metric: expected for metric, (expected, _) in found.items()} == {
        metric: labels for metric, (_, labels) in found.items()
    }
    missing = {name for name, labels in descriptions["metrics"].items() if "CANARY" in labels} - found.keys()
    assert (ELSEWHERE, len(RUNS)) == (missing, len(used))
