"""Metric readers whose series are served at ``/metrics``. Importing this module imports the SDK."""

from collections.abc import Iterator, Mapping
from typing import Final

from opentelemetry.metrics import Observation
from opentelemetry.sdk import metrics
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from opentelemetry.sdk.metrics.view import Aggregation

from streamcanary import __version__
from streamcanary.model import names
from streamcanary.telemetry.prometheus.observer import Observer
from streamcanary.telemetry.prometheus.series import SeriesAggregation, SeriesStore
from streamcanary.telemetry.prometheus.storage import use_compact_series
from streamcanary.telemetry.prometheus.text import FamilyText, Format, family_text, join_pieces, target_info

_PART_BYTES: Final = 256 * 1024  # about a buffer of the socket

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
    """Renders the series of one reader. Not thread-safe, but for the values, which change meanwhile.

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

    def render(self, text_format: Format) -> Iterator[bytes]:
        """Yield the values in UTF-8, in parts of about 256 KiB, each with the values of the time when it is made."""
        return join_pieces(self._pieces(text_format), _PART_BYTES)

    def _pieces(self, text_format: Format) -> Iterator[bytes]:
        self._observer.observe()
        texts = self._texts[text_format]
        yield target_info(self._resource, text_format).encode("utf-8", "replace")
        for name, family in self._store.families.copy().items():
            if name not in texts:
                texts[name] = family_text(family, text_format, self._constant)
            yield from texts[name].render()
        if text_format == "openmetrics":
            yield b"# EOF\n"


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
