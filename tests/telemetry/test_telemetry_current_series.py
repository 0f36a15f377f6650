"""Series of canaries that a reload removes or relabels are no longer exported and served."""

from typing import Any

from msgspec import structs
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter, MetricExportResult, MetricsData

from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.metric_labels import metric_labels
from streamcanary.telemetry.config import TelemetryConfig
from streamcanary.telemetry.current_series import series_of
from streamcanary.telemetry.otlp.export_failures import ExportTracker
from streamcanary.telemetry.otlp.exporters import SwappableMetricExporter
from streamcanary.telemetry.otlp.sdk_log_handler import SdkLogHandler
from streamcanary.telemetry.providers import Telemetry
from support.clock import ManualClock

CHAT = Canary(name="chat", target="t", provider="p", interval=60.0, labels={"tier": "prod"})
OTHER = structs.replace(CHAT, name="other")


def test_series_without_a_canary_are_current() -> None:
    """Those of the daemon itself stay."""
    is_current = series_of([CHAT])
    assert is_current(names.CONFIG_OBJECTS.name, {"type": "canary"})
    assert is_current(names.RUNS.name, {**metric_labels(CHAT), "outcome": "ok"})
    assert not is_current(names.RUNS.name, {**metric_labels(OTHER), "outcome": "ok"})


def test_series_with_another_target_end() -> None:
    """A canary that moves to another target has new series."""
    is_current = series_of([structs.replace(CHAT, target="u")])
    assert not is_current(names.RUNS.name, metric_labels(CHAT))


def test_the_labels_of_a_canary_are_those_of_the_configuration() -> None:
    """Two series of ``streamcanary.canary.info`` for one canary would break joins."""
    is_current = series_of([structs.replace(CHAT, labels={"tier": "test"})])
    assert not is_current(names.CANARY_INFO.name, {"tier": "prod", **metric_labels(CHAT)})
    assert is_current(names.CANARY_INFO.name, {"tier": "test", **metric_labels(CHAT)})


async def served_canaries(telemetry: Telemetry) -> set[str]:
    """Return the canaries with a series at ``/metrics``."""
    assert telemetry.scraper is not None
    text = b"".join([part async for part in telemetry.scraper.scrape("text/plain")[1]]).decode()
    return {name for name in ("chat", "other") if f'canary="{name}"' in text}


async def test_metrics_are_served_for_current_canaries() -> None:
    """A canary that comes back has its series again; one that still ends a run makes none."""
    telemetry = Telemetry(environ={}, make_global=False)
    telemetry.prepare(TelemetryConfig())
    telemetry.apply()
    assert telemetry.meter_provider is not None
    counter = telemetry.meter_provider.get_meter("test").create_counter(names.RUNS.name)
    for canary in (CHAT, OTHER):
        counter.add(1, metric_labels(canary))
    assert {"chat", "other"} == await served_canaries(telemetry)
    telemetry.show_canaries([CHAT])
    counter.add(1, metric_labels(OTHER))
    counter.add(1, {**metric_labels(OTHER), "outcome": "failed"})
    assert {"chat"} == await served_canaries(telemetry)
    telemetry.show_canaries([OTHER])
    assert {"other"} == await served_canaries(telemetry)
    await telemetry.close()


class RecordingExporter(MetricExporter):
    """An exporter that records the canaries of each export."""

    def __init__(self) -> None:
        super().__init__()
        self.canaries: set[Any] = set()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> MetricExportResult:
        """Record the canaries."""
        self.canaries = {
            (point.attributes or {}).get("canary")
            for resource in metrics_data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }
        return MetricExportResult.SUCCESS

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Do nothing."""
        return True


def test_metrics_are_exported_for_current_canaries(monkeypatch: Any) -> None:
    """Counters, gauges and histograms of the SDK's own aggregations end as well."""
    from opentelemetry import metrics

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    canary_metrics = CanaryMetrics(ManualClock())
    for canary in (CHAT, OTHER):
        canary_metrics.initialize_series(canary)
    recording = RecordingExporter()
    exporter = SwappableMetricExporter(recording, ExportTracker("metrics", ManualClock()), SdkLogHandler(ManualClock()))
    data = reader.get_metrics_data()
    assert data is not None
    exporter.export(data)
    assert {"chat", "other"} <= recording.canaries
    exporter.is_current = series_of([CHAT])
    exporter.export(data)
    assert {"chat"} == recording.canaries


def test_series_of_alerts_are_those_of_the_replica_that_evaluates_them() -> None:
    """A replica has the series of the canaries that it runs, and those of alerts if it owns them."""
    owner, other = series_of([CHAT], alerting=[CHAT, OTHER]), series_of([CHAT], alerting=[])
    active = names.ALERT_ACTIVE.name
    assert owner(active, metric_labels(OTHER))
    assert owner(active, {names.SCOPE: "provider"})
    assert not owner(names.RUNS.name, metric_labels(OTHER))
    assert not other(active, metric_labels(CHAT))
    assert not other(active, {names.SCOPE: "provider"})
    assert other(names.RUNS.name, metric_labels(CHAT))
