"""Series of canaries that a reload has removed: they take no memory, and no room below the limit of series."""

from typing import Any

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from streamcanary.model.canary import Canary
from streamcanary.model.metric_labels import metric_labels
from streamcanary.telemetry.current_series import series_of
from streamcanary.telemetry.prometheus.reader import MetricsText, series_aggregations
from streamcanary.telemetry.prometheus.series import SeriesStore
from streamcanary.telemetry.prometheus.storage import use_compact_series
from streamcanary.telemetry.sdk import create_meter_provider

A, B, C = (Canary(name=name, target="t", provider="p", interval=30.0) for name in "abc")


class Served:
    """A provider whose series are served, and exported."""

    def __init__(self, max_series: int = 2000) -> None:
        self.store = SeriesStore(is_exported=True)
        self.reader = InMemoryMetricReader(preferred_aggregation=series_aggregations(self.store))
        provider = create_meter_provider([self.reader], Resource({}), max_series=max_series, by_target=False)
        use_compact_series(provider, self.reader)
        self.meter = provider.get_meter("test")
        self.text = MetricsText(self.store, self.reader, {})

    def lines(self) -> list[str]:
        """Return the lines of a scrape that have a value of a canary, and no bucket."""
        text = b"".join(self.text.render("classic")).decode()
        return [line for line in text.splitlines() if "canary=" in line and "_bucket" not in line]

    def values(self) -> dict[str, float]:
        """Return the values of a scrape by canary."""
        return {line.partition('canary="')[2][0]: float(line.rpartition(" ")[2]) for line in self.lines()}

    def exported(self) -> dict[Any, Any]:
        """Return the values of an export by canary; ``None`` is what is over the limit."""
        data = self.reader.get_metrics_data()
        assert data is not None
        points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        return {(point.attributes or {}).get("canary"): getattr(point, "value", None) for point in points}

    def count(self) -> int:
        """Return how many series there are in memory."""
        return sum(len(family.series) for family in self.store.families.values())


def test_series_of_a_removed_canary_are_forgotten() -> None:
    """Neither a scrape nor an export has them, nor the memory."""
    served = Served()
    counter = served.meter.create_counter("n")
    for canary in (A, B):
        counter.add(1, metric_labels(canary))
    assert {"a": 1, "b": 1} == served.values()
    served.store.show(series_of([B]))
    assert ({"b": 1}, {"b": 1}, 1) == (served.values(), served.exported(), served.count())


def test_canaries_that_come_and_go_do_not_exceed_the_limit_of_series() -> None:
    """Otherwise the canaries of the hundredth deployment would be merged into one series."""
    served = Served(max_series=2)
    counter = served.meter.create_counter("n")
    for canary in (A, B, C):
        served.store.show(series_of([canary]))
        counter.add(1, metric_labels(canary))
    assert ({"c": 1}, {"c": 1}) == (served.values(), served.exported())


def test_run_that_ends_after_the_reload_makes_a_series_until_the_next_one() -> None:
    """It is not served, and is forgotten as others are."""
    served = Served()
    counter = served.meter.create_counter("n")
    served.store.show(series_of([B]))
    counter.add(1, metric_labels(A))
    assert ({}, 1) == (served.values(), served.count())
    served.store.show(series_of([B]))
    assert 0 == served.count()


def test_canary_that_comes_back_counts_from_zero() -> None:
    """As after a restart."""
    served = Served()
    counter = served.meter.create_counter("n")
    counter.add(5, metric_labels(A))
    served.store.show(series_of([B]))
    served.store.show(series_of([A, B]))
    counter.add(1, metric_labels(A))
    assert {"a": 1} == served.values()


def test_histograms_that_stay_have_their_own_values() -> None:
    """Their texts are kept between scrapes, by position, and positions change."""
    served = Served()
    histogram = served.meter.create_histogram("n")
    for canary, value in ((A, 1.0), (B, 2.0), (C, 3.0)):
        histogram.record(value, metric_labels(canary))
    before = served.lines()
    served.store.show(series_of([B, C]))
    assert [line for line in before if 'canary="a"' not in line] == served.lines()
    histogram.record(1.0, metric_labels(C))
    histogram.record(4.0, metric_labels(B))
    assert ["2", "6.0", "2", "4.0"] == [line.rpartition(" ")[2] for line in served.lines()]


def test_scrape_that_has_begun_goes_on() -> None:
    """It is made in parts, and canaries may be removed between two of them."""
    served = Served()
    counter, histogram = served.meter.create_counter("m"), served.meter.create_histogram("n")
    for canary in (A, B, C):
        counter.add(1, metric_labels(canary))
        histogram.record(1.0, metric_labels(canary))
    pieces = served.text._pieces("classic")
    begun = [next(pieces) for _ in range(3)]
    assert b'canary="a"' in begun[-1]
    served.store.show(series_of([C]))
    assert {"c": 1.0} == served.values()
    rest = b"".join(pieces)
    assert (False, False, True) == tuple(f'canary="{name}"'.encode() in rest for name in "abc")


def test_observed_series_is_forgotten_when_it_is_not_observed_any_more() -> None:
    """A callback may return the same observations until the next scrape."""
    served = Served()
    observations = [Observation(1, metric_labels(canary)) for canary in (A, B)]
    served.meter.create_observable_gauge("n", [lambda _: observations])
    assert {"a": 1, "b": 1} == served.values()
    served.store.show(series_of([B]))
    assert ({"b": 1}, 2) == (served.values(), served.count())
    del observations[0]
    assert {"b": 1} == served.values()
    served.store.show(series_of([B]))
    assert ({"b": 1}, 1) == (served.values(), served.count())


def test_observation_that_comes_back_is_shown() -> None:
    """Also the same object: it is known from a former scrape, and its series was removed."""
    served = Served()
    observation = Observation(1, metric_labels(A))
    observations = [observation, Observation(1, metric_labels(B))]
    served.meter.create_observable_gauge("n", [lambda _: observations])
    assert {"a": 1, "b": 1} == served.values()
    served.store.show(series_of([B]))
    [family] = served.store.families.values()
    family.series[0].is_present = False  # as between two scrapes of which the second one observes it again
    served.store.show(series_of([B]))
    assert 1 == served.count()
    served.store.show(series_of([A, B]))
    assert {"a": 1, "b": 1} == served.values()
