"""What answers a canary is watched: changes of the model, its retirement, and the rate limits of the provider."""

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import metrics, trace

from streamcanary.canary.drift.model_tracker import MAX_KNOWN, OTHER, AnsweringModel, ModelChange, ModelTracker
from streamcanary.canary.drift.model_watch import ModelWatch
from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, Retirement
from streamcanary.model.rate_limit import Quota, RateLimits
from streamcanary.simulator import Simulator
from streamcanary.store.errors import StoreFailing
from support.servers.simulator import HANGING_TIMINGS
from support.telemetry.in_memory import RecordedTelemetry

SUNSET = 1_924_991_999.0
LABELS = {"target": "t", "provider": "p"}


def a_run(model: str | None = "m", kind: OutcomeKind = OutcomeKind.OK, **fields: Any) -> Outcome:
    attempt = {name: fields.pop(name) for name in ("rate_limits", "retirement") if name in fields}
    attempts = (Attempt(number=1, route=fields.pop("route", "sim-ok"), started=0.0, duration=1.0, **attempt),)
    return Outcome(
        run_id="r",
        canary="c",
        target="t",
        provider="p",
        kind=kind,
        scheduled=0.0,
        started=0.0,
        model=model,
        attempts=attempts,
        **fields,
    )


class Watched:
    """A watched canary, and what was recorded of its runs."""

    def __init__(self, name: str, recorded: RecordedTelemetry) -> None:
        self.name = name
        self.recorded = recorded
        self.canary = Canary(name=name, interval=30.0, **LABELS)
        self.watch = ModelWatch(self.canary, CanaryMetrics(SystemClock()))
        self.tracer = trace.get_tracer("test")

    def run(self, outcome: Outcome) -> tuple[Outcome, list[tuple[str, dict[str, Any]]]]:
        """Return the outcome of a run, and the events of its span."""
        span = self.tracer.start_span("run")
        outcome = self.watch.observe(outcome, span, trace.set_span_in_context(span))
        span.end()
        events = self.recorded.spans[-1].events
        return outcome, [(event.name, dict(event.attributes or {})) for event in events]

    def series(self, metric: str) -> list[tuple[dict[str, Any], float]]:
        """Return the series of ``metric`` of this canary: the labels that only it has, and the value."""
        points = [dict(point.attributes) | {"=": point.value} for point in self.recorded._points(metric)]
        mine = [point for point in points if point.pop("canary", "") == self.name]
        return [({name: point[name] for name in point if name not in (*LABELS, "=")}, point["="]) for point in mine]


@pytest.fixture
def watched(recorded: RecordedTelemetry, request: pytest.FixtureRequest) -> Watched:
    return Watched(request.node.name, recorded)


def changes(*runs: Outcome) -> list[list[ModelChange]]:
    tracker = ModelTracker()
    return [list(tracker.observe(run)) for run in runs]


def test_the_first_answer_is_no_change() -> None:
    """Nothing has changed before there is anything to compare with."""
    assert [[]] == changes(a_run("a", system_fingerprint="fp_1", service_tier="default"))


def test_each_value_that_differs_is_a_change() -> None:
    """Model, fingerprint and tier are compared with the run before."""
    first = a_run("a", system_fingerprint="fp_1", service_tier="default")
    second = a_run("b", system_fingerprint="fp_2", service_tier="flex")
    expected = [
        ModelChange("model", "a", "b", is_new=True),
        ModelChange("system_fingerprint", "fp_1", "fp_2", is_new=True),
        ModelChange("service_tier", "default", "flex", is_new=True),
    ]
    assert [[], expected, []] == changes(first, second, second)


def test_returning_to_a_known_value_is_a_change_and_not_new() -> None:
    """A provider that alternates between two models changes each time; only the first time is new."""
    found = changes(a_run("a"), a_run("b"), a_run("a"), a_run("b"))
    assert [None, True, False, False] == [each[0].is_new if each else None for each in found]


@pytest.mark.parametrize(
    "between",
    [
        a_run(None, OutcomeKind.FAILED),
        a_run("fallback", OutcomeKind.FAILED_OVER, degraded="fallback"),
        a_run(None, OutcomeKind.SKIPPED),
        a_run("a", system_fingerprint=None),
    ],
)
def test_only_what_the_primary_reports_is_compared(between: Outcome) -> None:
    """A failed run, a fallback, and an answer without a fingerprint change nothing."""
    run = a_run("a", system_fingerprint="fp_1")
    assert [[], [], []] == changes(run, between, run)


def test_an_unexpected_answer_is_compared() -> None:
    """The model that gave an unexpected answer may be another one: that is what one wants to know."""
    assert 1 == len(changes(a_run("a"), a_run("b", OutcomeKind.FAILED))[1])


def test_a_change_is_an_event_a_count_and_a_log_line(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """A changed model is on the span of the run, in the counter, in the log, and in the outcome."""
    watched.run(a_run("a"))
    outcome, events = watched.run(a_run("b"))
    change = {"type": "model", "previous": "a", "current": "b"}
    assert [("streamcanary.model.changed", {f"streamcanary.change.{name}": change[name] for name in change})] == events
    assert [({"type": "model"}, 1)] == watched.series("streamcanary.model.changes")
    assert "a" == outcome.previous_model
    (record,) = caplog.records
    assert ("model changed", logging.WARNING) == (record.message, record.levelno)
    assert {"canary": watched.name, **change} == {name: vars(record)[name] for name in ("canary", *change)}


def test_a_change_while_the_daemon_was_stopped_is_reported(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """What answered an earlier process is compared with: another fingerprint is an event, a count and a log line."""
    caplog.set_level(logging.INFO)
    watched.watch.resume(a_run("a", system_fingerprint="fp_1"))
    outcome, events = watched.run(a_run("b", system_fingerprint="fp_1"))
    assert ("a", ["streamcanary.model.changed"]) == (outcome.previous_model, [name for name, _ in events])
    assert [({"type": "model"}, 1)] == watched.series("streamcanary.model.changes")
    assert ["model changed"] == [record.message for record in caplog.records]
    watched.watch.resume(a_run("a", system_fingerprint="fp_1"))  # too late
    assert [] == watched.run(a_run("b", system_fingerprint="fp_1"))[1]


def test_the_info_metric_has_one_series(watched: Watched) -> None:
    """The series of the model before a change is gone at the next export."""
    for fingerprint in ("fp_1", "fp_2"):
        watched.run(a_run("a", system_fingerprint=fingerprint, service_tier="default"))
        labels = {"response_model": "a", "system_fingerprint": fingerprint, "service_tier": "default"}
        assert [(labels, 1)] == watched.series("streamcanary.model.info")


def test_a_provider_that_changes_at_every_run_adds_no_series(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a thousand fingerprints and models, a bounded number become labels and log lines; each change is counted."""
    caplog.set_level(logging.INFO)
    seen = set()
    for number in range(1000):
        watched.run(a_run(f"m{number}" * 200, system_fingerprint=f"fp_{number}", service_tier=f"tier {number}"))
        ((labels, _),) = watched.series("streamcanary.model.info")
        seen.add(tuple(labels.values()))
        assert True is all(len(value) <= 128 for value in labels.values())
    assert True is (len(seen) <= 25)
    assert {999} == {count for _, count in watched.series("streamcanary.model.changes")}
    assert True is (len(caplog.records) <= 3 * MAX_KNOWN)
    assert "not logged: too many values" == vars(caplog.records[-1])["further"]


def test_the_model_stays_a_label_when_only_its_fingerprint_changes() -> None:
    """A churning fingerprint becomes ``other``, and model and tier stay."""
    tracker = ModelTracker()
    for number in range(100):
        tracker.observe(a_run("a", system_fingerprint=f"fp_{number}", service_tier="default"))
    assert AnsweringModel("a", OTHER, "default") == tracker.labels


def test_a_retirement_is_an_event_a_gauge_and_one_log_line(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """Deprecation and sunset are on the span of each run, in a gauge, and logged once for each value."""
    announced = a_run(retirement=Retirement(deprecation=SUNSET - 1, sunset=SUNSET, is_deprecated=True))
    for _ in range(2):
        _, events = watched.run(announced)
        times = {"streamcanary.deprecation": SUNSET - 1, "streamcanary.sunset": SUNSET}
        assert [("streamcanary.model.retirement", {**times, "streamcanary.deprecated": True})] == events
        assert [({}, SUNSET)] == watched.series("streamcanary.model.sunset")
        assert [({}, SUNSET - 1)] == watched.series("streamcanary.model.deprecation")
        assert [({}, 1)] == watched.series("streamcanary.model.deprecated")
    (record,) = caplog.records
    assert ("model retirement", "m", "2030-12-31T23:59:59+00:00") == (
        record.message,
        vars(record)["model"],
        vars(record)["sunset"],
    )
    watched.run(a_run())
    assert [] == watched.series("streamcanary.model.sunset")


def test_a_deprecation_without_a_date_is_told(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """``Deprecation: true`` is an attribute of the event, a gauge, and said in the log."""
    _, events = watched.run(a_run(retirement=Retirement(is_deprecated=True)))
    assert [("streamcanary.model.retirement", {"streamcanary.deprecated": True})] == events
    assert [({}, 1)] == watched.series("streamcanary.model.deprecated")
    assert [] == watched.series("streamcanary.model.deprecation")
    assert "announced without a date" == vars(caplog.records[0])["deprecation"]


def test_changing_dates_are_logged_a_bounded_number_of_times(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """A provider that announces another date each time fills no log."""
    for number in range(100):
        watched.run(a_run(retirement=Retirement(sunset=SUNSET + number)))
    assert 8 == len(caplog.records)


def test_rate_limits_are_gauges_of_the_last_report(watched: Watched) -> None:
    """Remaining, limit and headroom are exported by type, until an answer reports no rate limits."""
    limits = RateLimits(requests=Quota(remaining=25, limit=100, reset_after=60.0), tokens=Quota(remaining=7))
    for run in (a_run(rate_limits=limits), a_run(None, OutcomeKind.FAILED)):
        watched.run(run)
        remaining = [({"type": "requests"}, 25), ({"type": "tokens"}, 7)]
        assert remaining == watched.series("streamcanary.ratelimit.remaining")
        assert [({"type": "requests"}, 100)] == watched.series("streamcanary.ratelimit.limit")
        assert [({"type": "requests"}, 60.0)] == watched.series("streamcanary.ratelimit.reset")
        assert [({"type": "requests"}, 0.25)] == watched.series("streamcanary.ratelimit.headroom")
    watched.run(a_run(None, OutcomeKind.FAILED, rate_limits=RateLimits(requests=Quota(remaining=0, limit=100))))
    assert [({"type": "requests"}, 0.0)] == watched.series("streamcanary.ratelimit.headroom")
    watched.run(a_run())
    assert [] == watched.series("streamcanary.ratelimit.remaining")


async def test_a_run_compares_its_model_with_that_of_the_run_before() -> None:
    """A runner knows the model of its last run; rate limits and retirement of a response are in the outcome."""
    clock = SystemClock()
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key": "sk-x"})
        models = {"changing": "sim-other-model@1", "low": "sim-low-quota", "retiring": "sim-retiring"}
        specs = {name: CanarySpec.model_validate({"target": "sim", "model": models[name]}) for name in models}
        async with CanaryRunners({"sim": target}, specs, clock=clock) as runners:
            first, second, third = [await runners.by_name["changing"](clock.time()) for _ in range(3)]
            low, retiring = [await runners.by_name[name](clock.time()) for name in ("low", "retiring")]
    assert [("sim-other-model@1-other", None), ("sim-other-model@1", first.model), (second.model, None)] == [
        (run.model, run.previous_model) for run in (first, second, third)
    ]
    assert low.rate_limits is not None and low.rate_limits.lowest is not None
    assert ("tokens", 0.03) == (low.rate_limits.lowest[0], low.rate_limits.lowest[2])
    assert retiring.retirement is not None and retiring.retirement.sunset is not None
    assert retiring.retirement.sunset > clock.time()


class History:
    """The runs of an earlier process, or an error."""

    def __init__(self, runs: dict[str, Outcome] | StoreFailing) -> None:
        self.runs = runs

    async def last_answers(self, canaries: Sequence[str]) -> dict[str, Outcome]:
        """Return those of ``canaries``."""
        if isinstance(self.runs, StoreFailing):
            raise self.runs
        return {name: run for name, run in self.runs.items() if name in canaries}

    async def last_outcomes(self, canaries: Sequence[str]) -> dict[str, Outcome]:
        """Return the same runs."""
        return await self.last_answers(canaries)

    async def last_runs(self, canaries: Sequence[str]) -> dict[str, Outcome]:
        """Return the same runs."""
        return await self.last_answers(canaries)


@pytest.mark.parametrize(
    ("runs", "previous"),
    [
        ({"c": a_run("before")}, "before"),
        ({"formerly": a_run("before")}, "before"),
        ({"c": a_run("before", route="asked-before")}, None),
        ({"other": a_run("before")}, None),
        (StoreFailing("disk full"), None),
    ],
)
async def test_a_run_compares_its_model_with_that_before_the_restart(
    runs: dict[str, Outcome] | StoreFailing, previous: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The store knows what answered the same request, also of a renamed canary; a store that fails delays nothing."""
    clock = SystemClock()
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key": "sk-x"})
        spec = CanarySpec.model_validate({"target": "sim", "model": "sim-ok", "renamed_from": "formerly"})
        async with CanaryRunners({"sim": target}, {"c": spec}, clock=clock) as runners:
            await runners.resume(History(runs))
            outcome = await runners.by_name["c"](clock.time())
    assert previous == outcome.previous_model
    failed = isinstance(runs, StoreFailing)
    assert failed is ("last answers not loaded" in [record.message for record in caplog.records])


def test_gauges_end_with_their_configuration(recorded: RecordedTelemetry) -> None:
    """Gauges of canaries whose runners no longer exist are not exported, and those of their successors are."""
    before = Watched("replaced", recorded)
    before.run(a_run("a"))
    after = Watched("successor", recorded)
    after.run(a_run("a"))
    del before.watch
    assert ([], 1) == (before.series("streamcanary.model.info"), len(after.series("streamcanary.model.info")))
    assert None is not metrics.get_meter_provider()


def test_reduced_rate_limits_are_those_of_the_scarcest_model_of_a_target(recorded: RecordedTelemetry) -> None:
    """With reduced series, a target has one series of each type: of its models, the one with the least headroom."""
    gauges = CanaryMetrics(SystemClock(), has_reduced_series=True)
    labels = {"target": "of many", "provider": "p", "type": "requests"}
    for name, model, remaining in (("a", "m", 1), ("b", "m", 30), ("c", "n", 20), ("d", "n", 10), ("e", "o", None)):
        limits = None if remaining is None else RateLimits(requests=Quota(remaining=remaining, limit=100))
        canary = Canary(name=name, target="of many", provider="p", interval=30.0, model=model)
        gauges.record_response(canary, a_run(rate_limits=limits), None)
    assert [(labels, 10)] == points_of(recorded, "streamcanary.ratelimit.remaining", "of many")
    gauges.retain({"a", "b"})
    assert [(labels, 30)] == points_of(recorded, "streamcanary.ratelimit.remaining", "of many")


def points_of(recorded: RecordedTelemetry, metric: str, target: str) -> list[tuple[dict[str, Any], float]]:
    points = [(dict(point.attributes), point.value) for point in recorded._points(metric)]
    return [(labels, value) for labels, value in points if labels["target"] == target]
