"""OTLP exporters that report to an :class:`ExportTracker`. Importing this module imports the SDK."""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    ScopeMetrics,
)
from opentelemetry.sdk.metrics.view import Aggregation, DefaultAggregation, ExponentialBucketHistogramAggregation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.util.re import parse_env_headers

from streamcanary.telemetry.config import Convention, HistogramAggregation, Temporality
from streamcanary.telemetry.current_series import IsCurrent, is_always_current
from streamcanary.telemetry.otlp.convention_exporter import ConventionExporter
from streamcanary.telemetry.otlp.export_failures import ExportTracker
from streamcanary.telemetry.otlp.export_settings import ExportSettings, is_loopback
from streamcanary.telemetry.otlp.http import OtlpHttpTransport, header_values
from streamcanary.telemetry.otlp.partial_success import watch_grpc_responses
from streamcanary.telemetry.otlp.sdk_log_handler import SdkLogHandler


class SwappableSpanExporter(SpanExporter):
    """Passes batches of spans to the current exporter, which a reload replaces under a running provider."""

    def __init__(self, exporter: SpanExporter | None, tracker: ExportTracker, sdk_log: SdkLogHandler) -> None:
        self._exporter = exporter
        self._tracker = tracker
        self._sdk_log = sdk_log

    def swap(self, exporter: SpanExporter | None) -> None:
        """Export through ``exporter`` from now on; with ``None``, drop all data."""
        self.shutdown()
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export ``spans``."""
        self._tracker.record_taken(len(spans))
        if (exporter := self._exporter) is None:
            return SpanExportResult.SUCCESS
        is_exported = _run_export(
            lambda: exporter.export(spans) is SpanExportResult.SUCCESS,
            len(spans),
            self._tracker,
            self._sdk_log,
        )
        return SpanExportResult.SUCCESS if is_exported else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Shut the exporter down: an export that waits for a retry gives up."""
        if self._exporter is not None:
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: this exporter buffers nothing."""
        return True


class SwappableMetricExporter(MetricExporter):
    """Passes the collected metrics to the current exporter, which a reload replaces under a running provider.

    ``aggregation`` replaces the preferred aggregations of ``exporter``.
    """

    def __init__(
        self,
        exporter: MetricExporter,
        tracker: ExportTracker,
        sdk_log: SdkLogHandler,
        aggregation: dict[type, Aggregation] | None = None,
    ) -> None:
        # The metric reader reads these two attributes of its exporter.
        super().__init__(exporter._preferred_temporality, aggregation or exporter._preferred_aggregation)
        self._exporter: MetricExporter | None = exporter
        self._tracker = tracker
        self._sdk_log = sdk_log
        self.is_current: IsCurrent = is_always_current
        """Selects the series that are exported."""

    def swap(self, exporter: MetricExporter | None) -> None:
        """Export through ``exporter`` from now on; with ``None``, drop all data."""
        self.shutdown()
        self._exporter = exporter

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> MetricExportResult:
        """Export ``metrics_data``."""
        if (exporter := self._exporter) is None:
            return MetricExportResult.SUCCESS
        if self.is_current is not is_always_current:
            metrics_data = _with_current_series(metrics_data, self.is_current)
        is_exported = _run_export(
            lambda: exporter.export(metrics_data, timeout_millis) is MetricExportResult.SUCCESS,
            _count_points(metrics_data),
            self._tracker,
            self._sdk_log,
        )
        return MetricExportResult.SUCCESS if is_exported else MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        """Shut the exporter down: an export that waits for a retry gives up."""
        if self._exporter is not None:
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Do nothing: this exporter buffers nothing."""
        return True


class SwappableLogExporter(LogRecordExporter):
    """Passes batches of log records to the current exporter, which a reload replaces under a running provider."""

    def __init__(self, exporter: LogRecordExporter | None, tracker: ExportTracker, sdk_log: SdkLogHandler) -> None:
        self._exporter = exporter
        self._tracker = tracker
        self._sdk_log = sdk_log

    def swap(self, exporter: LogRecordExporter | None) -> None:
        """Export through ``exporter`` from now on; with ``None``, drop all data."""
        self.shutdown()
        self._exporter = exporter

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Export ``batch``."""
        if (exporter := self._exporter) is None:
            return LogRecordExportResult.SUCCESS
        is_exported = _run_export(
            lambda: exporter.export(batch) is LogRecordExportResult.SUCCESS,
            len(batch),
            self._tracker,
            self._sdk_log,
        )
        return LogRecordExportResult.SUCCESS if is_exported else LogRecordExportResult.FAILURE

    def shutdown(self) -> None:
        """Shut the exporter down: an export that waits for a retry gives up."""
        if self._exporter is not None:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: this exporter buffers nothing."""
        return True


def _run_export(export: Callable[[], bool], items: int, tracker: ExportTracker, sdk_log: SdkLogHandler) -> bool:
    """Run ``export`` of ``items``, and record what fails, and what the receiver rejects."""
    is_exported = tracker.run_export(export, sdk_log.pop_failure_reason, items)
    rejection = sdk_log.pop_rejection()
    if is_exported and rejection is not None:
        tracker.record_rejection(*rejection)
    return is_exported


def _with_current_series(metrics_data: MetricsData, is_current: IsCurrent) -> MetricsData:
    """Return ``metrics_data`` without the series that are not current, and without metrics that have no others."""

    def current_metric(metric: Metric) -> Metric:
        points = [point for point in metric.data.data_points if is_current(metric.name, point.attributes or {})]
        return replace(metric, data=replace(metric.data, data_points=points))  # type: ignore[arg-type] # of its kind

    def current_scope(scope: ScopeMetrics) -> ScopeMetrics:
        metrics = [current_metric(metric) for metric in scope.metrics]
        return replace(scope, metrics=[metric for metric in metrics if metric.data.data_points])

    return MetricsData(
        resource_metrics=[
            replace(resource, scope_metrics=[current_scope(scope) for scope in resource.scope_metrics])
            for resource in metrics_data.resource_metrics
        ]
    )


def _count_points(metrics_data: MetricsData) -> int:
    return sum(
        len(metric.data.data_points)
        for resource in metrics_data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


def create_span_exporter(
    settings: ExportSettings, endpoint: str, sdk_log: SdkLogHandler, conventions: Collection[Convention] = ()
) -> SpanExporter:
    """Return an exporter of spans to ``endpoint``, with the attributes of ``conventions`` added.

    gRPC is imported only if the settings select it.
    """
    exporter = _create_otlp_span_exporter(settings, endpoint, sdk_log)
    return ConventionExporter(exporter, conventions) if conventions else exporter


def _create_otlp_span_exporter(settings: ExportSettings, endpoint: str, sdk_log: SdkLogHandler) -> SpanExporter:
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        grpc_exporter = GrpcExporter(**_grpc_options(settings, endpoint, "TRACES"))
        watch_grpc_responses(grpc_exporter, sdk_log)
        return grpc_exporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    transport = OtlpHttpTransport(settings, endpoint, "traces", sdk_log)
    return HttpExporter(endpoint=endpoint, timeout=settings.timeout, _transport=transport)


def create_metric_exporter(settings: ExportSettings, endpoint: str, sdk_log: SdkLogHandler) -> MetricExporter:
    """Return an exporter of metrics to ``endpoint``; gRPC is imported only if the settings select it."""
    preferences: dict[str, Any] = {
        "preferred_temporality": preferred_temporality(settings.temporality),
        "preferred_aggregation": _preferred_aggregation(settings.histograms),
    }
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        grpc_exporter = GrpcExporter(**_grpc_options(settings, endpoint, "METRICS"), **preferences)
        watch_grpc_responses(grpc_exporter, sdk_log)
        return grpc_exporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter

    transport = OtlpHttpTransport(settings, endpoint, "metrics", sdk_log)
    return HttpExporter(endpoint=endpoint, timeout=settings.timeout, _transport=transport, **preferences)


def create_log_exporter(settings: ExportSettings, endpoint: str, sdk_log: SdkLogHandler) -> LogRecordExporter:
    """Return an exporter of log records to ``endpoint``; gRPC is imported only if the settings select it."""
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter

        grpc_exporter = GrpcExporter(**_grpc_options(settings, endpoint, "LOGS"))
        watch_grpc_responses(grpc_exporter, sdk_log)
        return grpc_exporter
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter

    transport = OtlpHttpTransport(settings, endpoint, "logs", sdk_log)
    return HttpExporter(endpoint=endpoint, timeout=settings.timeout, _transport=transport)


def preferred_temporality(preference: Temporality) -> dict[type, AggregationTemporality]:
    """Return the temporality of each kind of instrument.

    Sums that can decrease, and gauges, have no useful deltas: they are always cumulative.
    https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/#additional-environment-variable-configuration
    """
    cumulative, delta = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
    return {
        Counter: cumulative if preference == "cumulative" else delta,
        Histogram: cumulative if preference == "cumulative" else delta,
        ObservableCounter: delta if preference == "delta" else cumulative,
        UpDownCounter: cumulative,
        ObservableUpDownCounter: cumulative,
        ObservableGauge: cumulative,
    }


def _preferred_aggregation(histograms: HistogramAggregation) -> dict[type, Aggregation]:
    """Return the aggregation of histograms; the default one uses the buckets that the instrument advises."""
    return {Histogram: ExponentialBucketHistogramAggregation() if histograms == "exponential" else DefaultAggregation()}


def _grpc_options(settings: ExportSettings, endpoint: str, signal: str) -> dict[str, Any]:
    variable = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_HEADERS") or os.environ.get(
        "OTEL_EXPORTER_OTLP_HEADERS", ""
    )
    return {
        "endpoint": endpoint,
        "insecure": endpoint.startswith("http://"),
        "headers": {**parse_env_headers(variable, liberal=True), **header_values(settings.headers)},
        "timeout": settings.timeout,
        "channel_options": (("grpc.enable_http_proxy", int(not is_loopback(endpoint))),),
    }
