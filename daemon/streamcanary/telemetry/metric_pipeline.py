"""Chooses the readers of the meter provider: one that exports over OTLP, one for ``/metrics``, or one for both."""

import logging
from typing import TYPE_CHECKING

from streamcanary.telemetry.otlp.export_failures import ExportTracker
from streamcanary.telemetry.otlp.export_settings import ExportSettings
from streamcanary.telemetry.otlp.sdk_log_handler import SdkLogHandler

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader
    from opentelemetry.sdk.resources import Resource

    from streamcanary.telemetry.current_series import IsCurrent
    from streamcanary.telemetry.otlp.exporters import SwappableMetricExporter
    from streamcanary.telemetry.prometheus.scraper import MetricsScraper
    from streamcanary.telemetry.prometheus.series import SeriesStore

_logger = logging.getLogger(__name__)


class MetricPipeline:
    """The readers for one configuration.

    ``/metrics`` needs cumulative values in explicit buckets. If OTLP has the same, one reader aggregates for both.
    Otherwise each measurement is aggregated twice, which costs about 5 µs more.
    """

    def __init__(
        self,
        *,
        settings: ExportSettings | None,
        exporter: "MetricExporter | None",
        tracker: ExportTracker,
        sdk_log: SdkLogHandler,
        serves_metrics: bool,
    ) -> None:
        self.exporter: SwappableMetricExporter | None = None
        self._readers: list[MetricReader] = []
        self._store: SeriesStore | None = None
        self._scraped_reader: MetricReader | None = None
        serves_metrics = serves_metrics and _is_sdk_supported()
        if settings is not None and exporter is not None:
            is_shared = serves_metrics and settings.temporality == "cumulative" and settings.histograms == "explicit"
            self._add_exporting_reader(settings, exporter, tracker, sdk_log, is_shared=is_shared)
        if serves_metrics and self._scraped_reader is None:
            from streamcanary.telemetry.prometheus import reader, series

            self._store = series.SeriesStore(is_exported=False)
            self._scraped_reader = reader.ScrapeReader(self._store)
            self._readers.append(self._scraped_reader)

    def _add_exporting_reader(
        self,
        settings: ExportSettings,
        exporter: "MetricExporter",
        tracker: ExportTracker,
        sdk_log: SdkLogHandler,
        *,
        is_shared: bool,
    ) -> None:
        from streamcanary.telemetry import sdk
        from streamcanary.telemetry.otlp import exporters

        aggregations = None
        if is_shared:
            from streamcanary.telemetry.prometheus import reader, series

            self._store = series.SeriesStore(is_exported=True)
            aggregations = reader.series_aggregations(self._store)
        self.exporter = exporters.SwappableMetricExporter(exporter, tracker, sdk_log, aggregations)
        exporting = sdk.create_exporting_reader(self.exporter, interval=settings.interval, timeout=settings.timeout)
        self._readers.append(exporting)
        if is_shared:
            self._scraped_reader = exporting

    def create_provider(self, resource: "Resource", max_series: int, *, by_target: bool) -> "MeterProvider | None":
        """Return the provider with the readers; ``None`` if there is none. ``by_target``: histograms are by target."""
        if not self._readers:
            return None
        from streamcanary.telemetry import sdk

        provider = sdk.create_meter_provider(self._readers, resource, max_series=max_series, by_target=by_target)
        if self._scraped_reader is not None:
            from streamcanary.telemetry.prometheus.storage import use_compact_series

            use_compact_series(provider, self._scraped_reader)
        return provider

    def show_series(self, is_current: "IsCurrent") -> None:
        """Export and serve only the series that are current."""
        if self._store is not None:
            self._store.show(is_current)
        if self.exporter is not None:
            self.exporter.is_current = is_current

    def create_scraper(self, resource: "Resource") -> "MetricsScraper | None":
        """Return what renders ``/metrics``; ``None`` if it is off."""
        if self._store is None or self._scraped_reader is None:
            return None
        from streamcanary.telemetry.prometheus import reader, scraper

        return scraper.MetricsScraper(reader.MetricsText(self._store, self._scraped_reader, resource.attributes))


def _is_sdk_supported() -> bool:
    from streamcanary.telemetry.prometheus.reader import is_supported

    if is_supported():
        return True
    _logger.warning(
        "metrics endpoint unavailable",
        extra={"hint": "install the version of opentelemetry-sdk that streamcanary was tested with, or use OTLP"},
    )
    return False
