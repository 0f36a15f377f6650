"""Values that are recorded without a measurement of the SDK: the series are those that the SDK would have."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics._internal.measurement import Measurement
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from streamcanary.model import names
from streamcanary.telemetry.prometheus import reader, series
from streamcanary.telemetry.prometheus.storage import use_compact_series
from streamcanary.telemetry.sdk import create_meter_provider

INSTRUMENTS: dict[str, Callable[[Meter], Any]] = {
    "counter": lambda meter: meter.create_counter("n"),
    "updowncounter": lambda meter: meter.create_up_down_counter("n"),
    "gauge": lambda meter: meter.create_gauge("n"),
    "histogram": lambda meter: meter.create_histogram("n", explicit_bucket_boundaries_advisory=(1.0, 5.0)),
}
METHODS = {"counter": "add", "updowncounter": "add", "gauge": "set", "histogram": "record"}


class Recorded:
    """A provider and what it exports; with ``with_another``, a second reader of the SDK's own series."""

    def __init__(self, *, with_another: bool = False, max_series: int = 2000, by_target: bool = False) -> None:
        store = series.SeriesStore(is_exported=True)
        self.reader = InMemoryMetricReader(preferred_aggregation=reader.series_aggregations(store))
        self.other = InMemoryMetricReader()
        readers = [self.reader, self.other] if with_another else [self.reader]
        self.provider: MeterProvider = create_meter_provider(
            readers, Resource({}), max_series=max_series, by_target=by_target
        )
        use_compact_series(self.provider, self.reader)
        self.meter = self.provider.get_meter("test")

    def points(self, of: InMemoryMetricReader | None = None) -> list[tuple[Any, ...]]:
        """Return attributes, values and exemplars of all data points."""
        data = (of or self.reader).get_metrics_data()
        assert data is not None
        return sorted(
            (_essence(point) for point in data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points),
            key=repr,
        )


def _essence(point: Any) -> tuple[Any, ...]:
    value = point.value if hasattr(point, "value") else (point.count, point.sum, point.bucket_counts, point.min)
    return (
        dict(sorted(point.attributes.items())),
        value,
        [(each.value, each.span_id, each.trace_id) for each in point.exemplars],
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Measurement]:
    """Collect the measurements that the SDK makes."""
    made: list[Measurement] = []
    clean = Measurement.__post_init__

    def clean_and_collect(measurement: Measurement) -> None:
        clean(measurement)
        made.append(measurement)

    monkeypatch.setattr(Measurement, "__post_init__", clean_and_collect)
    return made


ATTRIBUTES: list[dict[str, Any] | None] = [
    {"canary": "a", "route": "m"},
    {"route": "m", "canary": "a"},
    {"canary": "a", "route": "m", names.ERROR_TYPE: "stalled"},
    {"canary": "a", "port": 443, "tls": True, "share": 0.5},
    {"canary": "a", "port": 443.0},
    {"models": ["a", "b"]},
    {"models": ("a", "b")},
    {"canary": None},
    {},
    None,
]


@pytest.mark.parametrize("kind", INSTRUMENTS)
def test_the_series_are_those_of_the_sdk(kind: str) -> None:
    """The attributes and values of all series are the same as with a second reader, which needs every measurement."""
    direct, by_sdk = Recorded(), Recorded(with_another=True)
    for recorded in (direct, by_sdk):
        instrument = INSTRUMENTS[kind](recorded.meter)
        for amount, attributes in enumerate(ATTRIBUTES * 2):
            getattr(instrument, METHODS[kind])(amount, attributes)
    assert by_sdk.points() == direct.points()
    assert [point[:2] for point in by_sdk.points(by_sdk.other)] == [point[:2] for point in direct.points()]


@pytest.mark.parametrize("kind", INSTRUMENTS)
def test_the_sdk_makes_one_measurement_for_each_instrument(kind: str, measured: list[Measurement]) -> None:
    """After the first value, an instrument records without it."""
    recorded = Recorded()
    instrument = INSTRUMENTS[kind](recorded.meter)
    for name in "abc":
        getattr(instrument, METHODS[kind])(1, {"canary": name})
    assert (1, 3) == (len(measured), len(recorded.points()))


def test_each_reader_gets_the_values_of_two(measured: list[Measurement]) -> None:
    """With a second reader, every value is a measurement of the SDK."""
    recorded = Recorded(with_another=True)
    counter = recorded.meter.create_counter("n")
    counter.add(1)
    counter.add(2)
    assert 2 == len(measured)
    assert [({}, 3, [])] == recorded.points() == recorded.points(recorded.other)


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), float("-inf"), -1])
@pytest.mark.parametrize("kind", ["counter", "histogram"])
def test_invalid_values_are_ignored_with_a_warning(kind: str, amount: float, caplog: pytest.LogCaptureFixture) -> None:
    """The SDK says which instrument has got one."""
    recorded = Recorded()
    instrument = INSTRUMENTS[kind](recorded.meter)
    getattr(instrument, METHODS[kind])(1)
    before = recorded.points()
    with caplog.at_level(logging.WARNING):
        getattr(instrument, METHODS[kind])(amount)
    assert before == recorded.points()
    assert ["opentelemetry.sdk.metrics._internal.instrument"] == [line.name for line in caplog.records]


@pytest.mark.parametrize("kind", ["updowncounter", "gauge"])
def test_values_below_zero_are_recorded(kind: str, measured: list[Measurement]) -> None:
    """Up-down counters and gauges have them."""
    recorded = Recorded()
    instrument = INSTRUMENTS[kind](recorded.meter)
    for amount in (0, -2.5):
        getattr(instrument, METHODS[kind])(amount)
    assert ([({}, -2.5, [])], 1) == (recorded.points(), len(measured))


def test_series_beyond_the_limit_are_merged() -> None:
    """The overflow series takes them."""
    recorded = Recorded(max_series=2)
    counter = recorded.meter.create_counter("n")
    for name in "abcd":
        counter.add(1, {"canary": name})
    assert [({"canary": "a"}, 1), ({"canary": "b"}, 1), ({"otel.metric.overflow": True}, 2)] == [
        point[:2] for point in recorded.points()
    ]


def test_reduced_histograms_have_one_series_a_target() -> None:
    """The label ``canary`` is left out of histograms, and stays on counters."""
    recorded = Recorded(by_target=True)
    histogram = recorded.meter.create_histogram("n", explicit_bucket_boundaries_advisory=(1.0,))
    for name in "abc":
        histogram.record(0.5, {"canary": name, "target": "t"})
    assert [({"target": "t"}, (3, 1.5, (3, 0), 0.5), [])] == recorded.points()


def test_exemplars_are_those_of_sampled_spans() -> None:
    """The span is that of the context, or the current one; one that is not sampled is none."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s")
    sampled = trace.set_span_in_context(span, Context())
    unsampled = trace.set_span_in_context(
        trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=False, trace_flags=trace.TraceFlags(0))), Context()
    )
    recorded = Recorded()
    histogram = recorded.meter.create_histogram("n", explicit_bucket_boundaries_advisory=(1.0, 2.0, 3.0, 4.0))
    histogram.record(9.5)
    histogram.record(0.5, {}, sampled)
    histogram.record(1.5, {}, unsampled)
    token = attach(sampled)
    histogram.record(2.5)
    histogram.record(3.5, {}, Context())  # the SDK takes the current context in place of an empty one
    detach(token)
    context = span.get_span_context()
    expected = [(value, context.span_id, context.trace_id) for value in (0.5, 2.5, 3.5)]
    assert [expected] == [exemplars for _, _, exemplars in recorded.points()]


def test_counters_have_exemplars_of_failures() -> None:
    """A value with an ``error.type``, or an outcome other than ``ok``, keeps its span."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s")
    sampled = trace.set_span_in_context(span, Context())
    recorded = Recorded()
    counter = recorded.meter.create_counter("n")
    counter.add(1, {names.OUTCOME: "ok"})
    for attributes in ({names.OUTCOME: "ok"}, {names.OUTCOME: "failed"}, {names.ERROR_TYPE: "stalled"}, {}):
        counter.add(1, attributes, sampled)
    assert [
        ({names.ERROR_TYPE: "stalled"}, 1),
        ({names.OUTCOME: "failed"}, 1),
    ] == [(attributes, len(exemplars)) for attributes, _, exemplars in recorded.points() if exemplars]
