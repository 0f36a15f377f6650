"""The text of ``/metrics``: read by the parsers of the Prometheus client library, and checked by promtool."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from streamcanary.model import names
from streamcanary.telemetry.prometheus import reader, series
from streamcanary.telemetry.prometheus.storage import use_compact_series
from streamcanary.telemetry.prometheus.text import accepted_format
from streamcanary.telemetry.sdk import create_meter_provider
from support.programs.promtool import check_metrics

BUCKETS = (0.1, 1.0)


class Metrics:
    """A meter, and the text of its metrics. With ``exports``, the reader also supplies OTLP."""

    def __init__(self, *, exports: bool = False, max_series: int = 2000, by_target: bool = False) -> None:
        store = series.SeriesStore(is_exported=exports)
        self.exported = InMemoryMetricReader(preferred_aggregation=reader.series_aggregations(store))
        self.reader = self.exported if exports else reader.ScrapeReader(store)
        self.provider: MeterProvider = create_meter_provider(
            [self.reader], Resource({}), max_series=max_series, by_target=by_target
        )
        use_compact_series(self.provider, self.reader)
        self.meter = self.provider.get_meter("test")
        self._text = reader.MetricsText(store, self.reader, {"service.name": "streamcanary", "k8s.pod.name": 'a"b'})

    def parts(self, text_format: str = "classic") -> Iterator[bytes]:
        return self._text.render(text_format)

    def text(self, text_format: str = "classic") -> str:
        return b"".join(self.parts(text_format)).decode()

    def samples(self, text_format: str = "classic") -> dict[str, float]:
        """Return all samples but ``target_info``, by name and labels."""
        parse = parse_classic if text_format == "classic" else parse_openmetrics
        return {
            f"{sample.name}{dict(sorted(sample.labels.items())) or ''}": sample.value
            for family in parse(self.text(text_format))
            for sample in family.samples
            if sample.name != "target_info"
        }


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    metrics = Metrics()
    yield metrics
    metrics.provider.shutdown()


def test_each_kind_of_instrument_has_its_samples(metrics):
    """Counters, gauges and histograms are rendered with the units and suffixes of Prometheus."""
    metrics.meter.create_counter("a.runs", "{run}", "Runs").add(2, {"canary": "x"})
    metrics.meter.create_up_down_counter("streams").add(-1)
    metrics.meter.create_gauge("last.time", "s").set(1.5)
    metrics.meter.create_gauge("headroom", "1").set(0.25)
    histogram = metrics.meter.create_histogram("d", "s", explicit_bucket_boundaries_advisory=BUCKETS)
    histogram.record(0.5)
    histogram.record(0.05)
    assert {
        "a_runs_total{'canary': 'x'}": 2.0,
        "streams": -1.0,
        "last_time_seconds": 1.5,
        "headroom_ratio": 0.25,
        "d_seconds_bucket{'le': '0.1'}": 1.0,
        "d_seconds_bucket{'le': '1.0'}": 2.0,
        "d_seconds_bucket{'le': '+Inf'}": 2.0,
        "d_seconds_count": 2.0,
        "d_seconds_sum": 0.55,
    } == metrics.samples()
    assert metrics.samples() == metrics.samples("openmetrics")


def test_the_metadata_is_that_of_each_format(metrics):
    """OpenMetrics names a counter without ``_total``, has units, and an end mark; the classic format has neither."""
    metrics.meter.create_counter("a.wait", "s", 'A "quoted"\nhelp\\text').add(1)
    assert (
        '# HELP a_wait_seconds_total A "quoted"\\nhelp\\\\text\n'
        "# TYPE a_wait_seconds_total counter\n"
        "a_wait_seconds_total 1\n"
    ) in metrics.text()
    openmetrics = metrics.text("openmetrics")
    assert (
        '# HELP a_wait_seconds A \\"quoted\\"\\nhelp\\\\text\n'
        "# TYPE a_wait_seconds counter\n"
        "# UNIT a_wait_seconds seconds\n"
        "a_wait_seconds_total 1\n"
    ) in openmetrics
    assert openmetrics.endswith("# EOF\n")


def test_the_resource_is_on_target_info(metrics):
    """The attributes of the resource are labels of one metric, not of every series."""
    metrics.meter.create_counter("runs").add(1)
    expected = {"service_name": "streamcanary", "k8s_pod_name": 'a"b'}
    for parse, text_format in ((parse_classic, "classic"), (parse_openmetrics, "openmetrics")):
        [info] = [each for family in parse(metrics.text(text_format)) for each in family.samples][:1]
        assert ("target_info", expected, 1.0) == (info.name, info.labels, info.value)


ACCEPT_OF_PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
HOSTILE = ['a"b', "a\nb", "a\\b", "a\\nb", "%s %d", "\0x\1", "{le}", "é…", "\ud800", "x" * 300, "", "# EOF\n"]


def test_hostile_label_values_stay_values(metrics):
    """Quotes, line breaks, format characters and lone surrogates in a value add no line and no label."""
    counter = metrics.meter.create_counter("runs")
    histogram = metrics.meter.create_histogram("d", explicit_bucket_boundaries_advisory=BUCKETS)
    for value in HOSTILE:
        counter.add(1, {"model": value, "n": True, "l": ["a", "b"]})
        histogram.record(1, {"model": value})
    expected = {value.replace("\0", "").replace("\ud800", "?") for value in HOSTILE}
    for parse, text_format in ((parse_classic, "classic"), (parse_openmetrics, "openmetrics")):
        samples = [sample for family in parse(metrics.text(text_format)) for sample in family.samples]
        found = [sample.labels for sample in samples if sample.name == "runs_total"]
        assert [{"true"}, {'["a", "b"]'}] == [{labels[name] for labels in found} for name in ("n", "l")]
        assert expected == {labels["model"] for labels in found}
        assert expected == {sample.labels["model"] for sample in samples if sample.name == "d_sum"}


def test_labels_have_valid_and_distinct_names(metrics):
    """Attributes that have the same name in Prometheus share a label, and reserved names are avoided."""
    metrics.meter.create_gauge("info").set(1, {"a.b": "1", "a_b": "2", "0": "x", "__name__": "evil", "a-b": "0"})
    metrics.meter.create_gauge("order").set(1, {"a_a": "1", "a.b": "%s"})  # "a.b" comes first, and "a_b" last
    assert {
        "info{'a_b': '0;1;2', 'key_0': 'x', 'key__name__': 'evil'}": 1.0,
        "order{'a_a': '1', 'a_b': '%s'}": 1.0,
    } == metrics.samples()


def test_series_with_the_same_labels_appear_once(metrics):
    """Prometheus would reject a second sample: attribute sets that differ only in the spelling of a name."""
    counter = metrics.meter.create_counter("runs")
    counter.add(1, {"a.b": "x"})
    counter.add(5, {"a_b": "x"})
    assert {"runs_total{'a_b': 'x'}": 1.0} == metrics.samples()


def test_only_observed_series_of_a_callback_appear(metrics):
    """A series that the callback no longer reports disappears, and returns with its value."""
    observed: dict[str, float] = {"a": 1.0, "b": 0.0}
    metrics.meter.create_observable_gauge(
        "active", [lambda _: [Observation(value, {"name": name}) for name, value in observed.items()]]
    )
    assert {"active{'name': 'a'}": 1.0, "active{'name': 'b'}": 0.0} == metrics.samples()
    del observed["a"]
    assert {"active{'name': 'b'}": 0.0} == metrics.samples()
    observed["a"] = 1.0
    assert {"active{'name': 'a'}": 1.0, "active{'name': 'b'}": 0.0} == metrics.samples()


def test_an_observation_that_stays_the_same_object_keeps_its_series(metrics):
    """A callback may return its former objects: they count as observed again."""
    observations = [Observation(1.0, {"name": "a"}), Observation(2.0, {"name": "b"})]
    metrics.meter.create_observable_gauge("active", [lambda _: observations])
    for _ in range(2):
        assert {"active{'name': 'a'}": 1.0, "active{'name': 'b'}": 2.0} == metrics.samples()
    observations[1] = Observation(3.0, {"name": "b"})
    assert {"active{'name': 'a'}": 1.0, "active{'name': 'b'}": 3.0} == metrics.samples()
    del observations[0]
    assert {"active{'name': 'b'}": 3.0} == metrics.samples()


def test_a_callback_that_fails_costs_its_own_metric_only(metrics, caplog):
    """The other metrics are there, and the failure is logged with the name of the metric."""

    def fail(_: object) -> list[Observation]:
        raise ValueError("no value")

    metrics.meter.create_observable_gauge("broken", [fail])
    metrics.meter.create_observable_gauge("active", [lambda _: [Observation(1), Observation(float("nan"), {"a": "b"})]])
    assert {"active": 1.0} == metrics.samples()
    assert [("metric callback failed", "broken")] == [(each.message, each.metric) for each in caplog.records]


def test_otlp_exports_only_what_its_own_collection_observes():
    """A series that a scrape has observed, and that is gone at the next collection, is not exported."""
    metrics = Metrics(exports=True)
    observed: list[Observation] = [Observation(1, {"name": "a"})]
    metrics.meter.create_observable_gauge("active", [lambda _: observed])
    metrics.meter.create_counter("runs").add(1)
    assert 1.0 == metrics.samples()["active{'name': 'a'}"]
    observed[:] = [Observation(2, {"name": "b"})]
    assert {"name": "b"} == exported_points(metrics)["active"].attributes
    assert {"active{'name': 'b'}": 2.0, "runs_total": 1.0} == metrics.samples()
    metrics.provider.shutdown()


def test_a_large_body_never_exists_as_a_whole():
    """Parts are about as long as a buffer of the socket, and each has the values of the time when it is made."""
    metrics = Metrics(max_series=20_000)
    counter = metrics.meter.create_counter("c")
    for number in range(10_000, 30_000):
        counter.add(1, {"canary": f"canary-{number}"})
    parts = metrics.parts()
    first = next(parts)
    counter.add(1, {"canary": "canary-10000"})
    counter.add(1, {"canary": "canary-29999"})
    rest = [*parts]
    assert [256, 256] == [len(part) // 1024 for part in (first, *rest[:-1])]
    assert b'c_total{canary="canary-10000"} 1\n' in first
    assert rest[-1].endswith(b'c_total{canary="canary-29999"} 2\n')
    metrics.provider.shutdown()


def test_a_change_is_in_the_next_scrape(metrics):
    """Texts of unchanged histograms are reused, those of changed ones are not."""
    histogram = metrics.meter.create_histogram("d", explicit_bucket_boundaries_advisory=BUCKETS)
    histogram.record(0.5, {"canary": "b"})
    for number in range(3):
        histogram.record(0.5, {"canary": "a"})
        for text_format in ("classic", "openmetrics"):
            samples = metrics.samples(text_format)
            assert (number + 1.0, 1.0) == (samples["d_count{'canary': 'a'}"], samples["d_count{'canary': 'b'}"])


def sampled_context() -> Context:
    return trace.set_span_in_context(TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("run"))


def test_exemplars_are_in_openmetrics_only(metrics):
    """A measurement with a sampled span is an exemplar of its bucket or failure, with the ids of the span."""
    context = sampled_context()
    ids = trace.get_current_span(context).get_span_context()
    histogram = metrics.meter.create_histogram("d", explicit_bucket_boundaries_advisory=BUCKETS)
    histogram.record(0.5, context=context)
    histogram.record(0.01)  # without a span
    runs = metrics.meter.create_counter("runs")
    runs.add(2, {"error.type": "stalled"}, context=context)
    runs.add(1, {"outcome": "ok"}, context=context)
    metrics.meter.create_up_down_counter("streams").add(2, context=context)
    metrics.meter.create_gauge("speed").set(2, context=context)
    found = {
        (sample.name, sample.labels.get("le")): (sample.exemplar.labels, sample.exemplar.value)
        for family in parse_openmetrics(metrics.text("openmetrics"))
        for sample in family.samples
        if sample.exemplar is not None
    }
    labels = {"trace_id": f"{ids.trace_id:032x}", "span_id": f"{ids.span_id:016x}"}
    assert {("d_bucket", "1.0"): (labels, 0.5), ("runs_total", None): (labels, 2.0)} == found
    assert "trace_id" not in metrics.text()
    assert found  # they stay, also in a second scrape
    assert 2 == metrics.text("openmetrics").count("trace_id=")


def test_one_reader_supplies_otlp_and_metrics():
    """A collection for OTLP has the values and exemplars of the same series, and a scrape takes nothing from it."""
    metrics = Metrics(exports=True)
    histogram = metrics.meter.create_histogram("d", "s", explicit_bucket_boundaries_advisory=BUCKETS)
    metrics.meter.create_observable_gauge("active", [lambda _: [Observation(1, {"name": "a"})]])
    histogram.record(0.5, {"canary": "x"}, sampled_context())
    metrics.meter.create_counter("runs").add(3)
    metrics.text("openmetrics")
    points = exported_points(metrics)
    assert (3, 1) == (points["runs"].value, points["active"].value)
    point = points["d"]
    assert (1, 0.5, (0, 1, 0), BUCKETS) == (point.count, point.sum, point.bucket_counts, point.explicit_bounds)
    assert [0.5] == [exemplar.value for exemplar in point.exemplars]
    histogram.record(2.0, {"canary": "x"})
    point = exported_points(metrics)["d"]
    assert (2, (0, 1, 1), 0.5, 2.0, []) == (point.count, point.bucket_counts, point.min, point.max, point.exemplars)
    metrics.provider.shutdown()


def exported_points(metrics: Metrics) -> dict[str, Any]:
    data = metrics.exported.get_metrics_data()
    [resource] = data.resource_metrics
    return {metric.name: metric.data.data_points[0] for scope in resource.scope_metrics for metric in scope.metrics}


def test_series_beyond_the_limit_are_merged():
    """Hostile values of an attribute cannot add series without limit."""
    metrics = Metrics(max_series=3)
    for number in range(10):
        metrics.meter.create_counter("runs").add(1, {"model": f"model-{number}"})
    samples = metrics.samples()
    assert (4, 7.0) == (len(samples), samples["runs_total{'otel_metric_overflow': 'true'}"])
    metrics.provider.shutdown()


def test_every_metric_has_the_name_in_the_table(metrics):
    """The names at ``/metrics`` are those in the documentation, in exported rules and in dashboards."""
    from streamcanary.model.prometheus_names import metric_name

    table = [value for value in vars(names).values() if isinstance(value, names.Metric)]
    for metric in table:
        if metric.kind == "histogram":
            metrics.meter.create_histogram(metric.name, metric.unit, metric.description).record(1)
        elif metric.kind == "gauge":
            metrics.meter.create_gauge(metric.name, metric.unit, metric.description).set(1)
        elif metric.kind == "counter":
            metrics.meter.create_counter(metric.name, metric.unit, metric.description).add(1)
        else:
            metrics.meter.create_up_down_counter(metric.name, metric.unit, metric.description).add(1)
    found = [line.split()[2] for line in metrics.text().splitlines() if line.startswith("# TYPE")]
    assert ["target_info", *map(metric_name, table)] == found
    assert len(found) == len(set(found))


@pytest.mark.real("promtool")
def test_promtool_accepts_the_text(metrics):
    """``promtool check metrics`` can read the text."""
    metrics.meter.create_counter("streamcanary.runs", "{run}", "Runs").add(1, {"canary": "x"})
    metrics.meter.create_histogram("streamcanary.wait", "s", "Wait").record(1, {"canary": 'a"b\n'})
    assert (0, "") == check_metrics(metrics.text())


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "classic"),
        ("*/*", "classic"),
        ("text/html,application/xhtml+xml;q=0.9", "classic"),
        ("application/openmetrics-text", "openmetrics"),
        (ACCEPT_OF_PROMETHEUS, "openmetrics"),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.9", "classic"),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", "classic"),
        ('application/openmetrics-text; version="1.0.0", text/plain;q=0.1', "openmetrics"),
        ("application/openmetrics-text;q=nan,text/plain;q=x", "classic"),
        (";;,,=", "classic"),
        ("a" * 100_000, "classic"),
    ],
)
def test_the_format_is_negotiated(accept, expected):
    """OpenMetrics is used only where the client prefers it, as Prometheus does."""
    assert expected == accepted_format(accept)


def test_the_installed_sdk_is_supported():
    """The aggregations work with the SDK of the lock file."""
    assert reader.is_supported()


def test_an_sdk_with_another_interface_is_recognised(monkeypatch):
    """If the SDK calls aggregations in another way, there is no ``/metrics``, and no crash."""
    monkeypatch.delattr(series.SeriesAggregation, "_create_aggregation")
    assert not reader.is_supported()


def test_reduced_histograms_have_one_series_a_target() -> None:
    """With reduced series, the canaries of a target share the series of a histogram; other metrics have the canary."""
    metrics = Metrics(by_target=True)
    durations, runs = metrics.meter.create_histogram("durations"), metrics.meter.create_counter("runs")
    for canary in ("a", "b"):
        durations.record(0.5, {"canary": canary, "target": "t"})
        runs.add(1, {"canary": canary, "target": "t"})
    samples = metrics.samples()
    metrics.provider.shutdown()
    assert 2 == samples["durations_count{'target': 't'}"]
    assert {"runs_total{'canary': 'a', 'target': 't'}", "runs_total{'canary': 'b', 'target': 't'}"} == {
        name for name in samples if name.startswith("runs_total")
    }
    assert set() == {name for name in samples if name.startswith("durations") and "canary" in name}
