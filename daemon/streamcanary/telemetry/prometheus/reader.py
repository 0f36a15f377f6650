"""Metric readers whose series are served at ``/metrics``. Importing this module imports the SDK."""

import threading
from collections.abc import Mapping

from opentelemetry.metrics import Observation
from opentelemetry.sdk import metrics
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from opentelemetry.sdk.metrics.view import Aggregation

from streamcanary import __version__
from streamcanary.model import names
from streamcanary.telemetry.prometheus.observer import Observer
from streamcanary.telemetry.prometheus.series import SeriesAggregation, SeriesStore
from streamcanary.telemetry.prometheus.storage import use_compact_series
from streamcanary.telemetry.prometheus.text import FamilyText, Format, target_info

_INSTRUMENTS: tuple[type, ...] = (
    metrics.Counter,
    metrics.UpDownCounter,
    metrics.Histogram,
    metrics._Gauge,
    metrics.ObservableCounter,
    metrics.ObservableUpDownCounter,
    metrics.ObservableGauge,
)


def series_aggregations(store: SeriesStore) -> dict[type, Aggregation]:
    """Return the aggregations that enter the series of every instrument in ``store``, for a reader."""
    return dict.fromkeys(_INSTRUMENTS, SeriesAggregation(store))


class ScrapeReader(MetricReader):
    """A reader for ``/metrics`` alone: nothing is exported."""

    def __init__(self, store: SeriesStore) -> None:
        super().__init__(preferred_aggregation=series_aggregations(store))

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> None:
        """Do nothing: a scrape reads the series, not the data points."""

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        """Do nothing."""


class MetricsText:
    """Renders the series of one reader. Threads may call it; they render one after the other.

    The attribute ``cloud.region`` of the resource is the label ``region`` of each series: Prometheus compares regions,
    and would need a join with ``target_info`` otherwise. Over OTLP it stays an attribute of the resource.
    """

    def __init__(self, store: SeriesStore, reader: MetricReader, resource: Mapping[str, object]) -> None:
        self._store = store
        self._observer = Observer(store, reader)
        self._resource = resource
        region = resource.get(names.CLOUD_REGION)
        self._constant = {names.REGION_LABEL: region} if region else {}
        self._texts: dict[Format, dict[str, FamilyText]] = {"classic": {}, "openmetrics": {}}
        self._lock = threading.Lock()

    def render(self, text_format: Format) -> list[bytes]:
        """Return the current values in UTF-8, in pieces of a series each.

        The pieces are those of earlier scrapes where nothing has changed: they are not copied.
        """
        with self._lock:
            self._observer.observe()
            texts = self._texts[text_format]
            pieces = [target_info(self._resource, text_format).encode("utf-8", "replace")]
            for name, family in self._store.families.copy().items():
                if name not in texts:
                    texts[name] = FamilyText(family, text_format, self._constant)
                pieces += texts[name].render()
            if text_format == "openmetrics":
                pieces.append(b"# EOF\n")
            return pieces


def is_supported() -> bool:
    """Return whether the installed SDK works with the aggregations of this package, by a trial.

    Their interface is not public in the SDK. If a later SDK changes it, there is no ``/metrics``, and OTLP uses the
    aggregations of the SDK.
    """
    try:
        return _trial() == [b"trial_total 2", b"observed 3"]
    except (AttributeError, TypeError, ImportError, KeyError, ValueError):
        return False


def _trial() -> list[bytes]:
    store = SeriesStore(is_exported=True)
    reader = metrics.export.InMemoryMetricReader(preferred_aggregation=series_aggregations(store))
    provider = metrics.MeterProvider([reader], shutdown_on_exit=False)
    use_compact_series(provider, reader)
    counter = provider.get_meter(names.INSTRUMENTATION_SCOPE, __version__).create_counter("trial")
    counter.add(1)
    counter.add(1)
    provider.get_meter(names.INSTRUMENTATION_SCOPE, __version__).create_observable_gauge(
        "observed", [lambda _: [Observation(3)]]
    )
    if reader.get_metrics_data() is None:
        return []
    text = b"".join(MetricsText(store, reader, {}).render("classic"))
    return [line for line in text.splitlines() if not line.startswith((b"#", b"target_info"))]
