"""Installs the providers of the OpenTelemetry SDK, swaps their exporters at a reload, and shuts them down in time."""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from streamcanary import __version__
from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock, SystemClock
from streamcanary.model.content_capture import is_content_captured
from streamcanary.telemetry.config import SIGNALS, Signal, TelemetryConfig
from streamcanary.telemetry.current_series import series_of
from streamcanary.telemetry.metric_pipeline import MetricPipeline
from streamcanary.telemetry.otlp.export_failures import ExportTracker
from streamcanary.telemetry.otlp.export_settings import ExportSettings, is_sdk_disabled, resolve_export_settings
from streamcanary.telemetry.otlp.losses import observe_losses
from streamcanary.telemetry.otlp.sdk_log_handler import SdkLogHandler
from streamcanary.telemetry.process_metrics import observe_process
from streamcanary.telemetry.resource import resource_attributes
from streamcanary.telemetry.series_limit import series_limit

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

    from streamcanary.telemetry.otlp.exporters import (
        SwappableLogExporter,
        SwappableMetricExporter,
        SwappableSpanExporter,
    )
    from streamcanary.telemetry.otlp.log_export import LogExportHandler
    from streamcanary.telemetry.prometheus.scraper import MetricsScraper
    from streamcanary.telemetry.runs.store import RunStore

_logger = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 4.0
"""Seconds for the last exports; by default, the SDK takes 30 s when the endpoint does not respond."""


class _Prepared(Struct, frozen=True, kw_only=True):
    """The result of :meth:`Telemetry.prepare`, which includes every step that can fail."""

    resource: "Resource"
    settings: ExportSettings | None = None
    span_exporter: "SpanExporter | None" = None
    metric_exporter: "MetricExporter | None" = None
    log_exporter: "LogRecordExporter | None" = None
    serves_metrics: bool = False
    captures_content: bool = False


class Telemetry:
    """Exports traces, metrics and logs over OTLP as the ``telemetry:`` section says, and renders ``/metrics``.

    ``prepare`` and ``apply`` are the same at the start and at a reload. The first ``apply`` with an endpoint makes
    the providers global through the OpenTelemetry API; a later one swaps their exporters, while resource, export
    interval, limits and ``/metrics`` stay until the next start. Without an endpoint, ``/metrics`` and ``runs``, the SDK
    is not imported, and the API discards all spans and measurements.

    ``runs`` keeps the traces of canary runs in memory, with or without an endpoint: every run, whatever
    ``OTEL_TRACES_SAMPLER`` selects for export. With ``OTEL_SDK_DISABLED=true`` there are none.

    ``expected_series`` is the expected number of attribute sets of the largest metric, by the configuration. The limit
    is 1.5 times that number, at least 2,000; further attribute sets are merged into ``otel.metric.overflow``.
    ``has_reduced_series``: histograms of canaries have one series a target in place of one a canary.

    ``region`` is the attribute ``cloud.region`` of the resource; ``None`` leaves it to the section and the variables.
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        expected_series: int = 0,
        has_reduced_series: bool = False,
        environ: Mapping[str, str] = os.environ,
        clock: Clock | None = None,
        make_global: bool = True,
        runs: "RunStore | None" = None,
    ) -> None:
        self._region = {names.CLOUD_REGION: region} if region else {}
        self._max_series = series_limit(expected_series)
        self._has_reduced_series = has_reduced_series
        self._environ = environ
        self._make_global = make_global
        self._runs = runs
        clock = clock or SystemClock()
        self._sdk_log = SdkLogHandler(clock)
        self._trackers: dict[Signal, ExportTracker] = {signal: ExportTracker(signal, clock) for signal in SIGNALS}
        self._span_exporter: SwappableSpanExporter | None = None
        self._metric_exporter: SwappableMetricExporter | None = None
        self._metric_pipeline: MetricPipeline | None = None
        self._log_exporter: SwappableLogExporter | None = None
        self._log_handler: LogExportHandler | None = None
        self._prepared: _Prepared | None = None
        self._is_closed = False
        self.tracer_provider: TracerProvider | None = None
        self.meter_provider: MeterProvider | None = None
        self.logger_provider: LoggerProvider | None = None
        self.scraper: MetricsScraper | None = None
        """Renders ``/metrics``; ``None`` if it is switched off."""

    def prepare(self, section: TelemetryConfig) -> None:
        """Create the exporters for ``section``; they take effect at :meth:`apply`.

        Raises:
            TelemetryMisconfigured: if an environment variable or the secret of a header is invalid.
        """
        self._prepared = None
        settings = resolve_export_settings(section, self._environ)
        is_disabled = is_sdk_disabled(self._environ)
        serves_metrics = section.prometheus and not is_disabled
        if settings is None and not serves_metrics and (self._runs is None or is_disabled):
            return
        from streamcanary.telemetry.sdk import create_resource

        detected = resource_attributes(self._environ, version=__version__, host=socket.gethostname())
        resource = create_resource(detected, {**section.resource, **self._region})
        captures_content = is_content_captured(section.content, self._environ)
        if settings is None:
            self._prepared = _Prepared(
                resource=resource, serves_metrics=serves_metrics, captures_content=captures_content
            )
            return
        from streamcanary.telemetry.otlp import exporters

        conventions = section.conventions
        traces, metrics, logs = settings.traces_endpoint, settings.metrics_endpoint, settings.logs_endpoint
        self._prepared = _Prepared(
            resource=resource,
            settings=settings,
            span_exporter=exporters.create_span_exporter(settings, traces, self._sdk_log, conventions)
            if traces
            else None,
            metric_exporter=exporters.create_metric_exporter(settings, metrics, self._sdk_log) if metrics else None,
            log_exporter=exporters.create_log_exporter(settings, logs, self._sdk_log) if logs else None,
            serves_metrics=serves_metrics,
            captures_content=captures_content,
        )

    def apply(self) -> None:
        """Apply the settings and exporters of the last :meth:`prepare`."""
        prepared, self._prepared = self._prepared, None
        if self._is_closed:
            return
        if prepared is not None:
            self._sdk_log.install()
        if prepared is not None and (settings := prepared.settings) is not None:
            self._trackers["traces"].endpoint = settings.traces_endpoint or ""
            self._trackers["metrics"].endpoint = settings.metrics_endpoint or ""
            self._trackers["logs"].endpoint = settings.logs_endpoint or ""
        self._apply_traces(prepared)
        self._apply_metrics(prepared)
        self._apply_logs(prepared)

    def show_canaries(self, canaries: Iterable[Canary], *, alerting: Iterable[Canary] | None = None) -> None:
        """Export and serve no metrics of any other canary from now on; those of the daemon itself stay.

        ``alerting`` are the canaries whose alerts this process evaluates, by default the same.
        """
        if self._metric_pipeline is not None:
            self._metric_pipeline.show_series(series_of(canaries, alerting=alerting))

    def _apply_traces(self, prepared: _Prepared | None) -> None:
        if self._span_exporter is not None:
            self._span_exporter.swap(prepared.span_exporter if prepared else None)
            return
        if prepared is None or (prepared.span_exporter is None and self._runs is None):
            return
        from streamcanary.telemetry import sdk

        if self.tracer_provider is None:
            from opentelemetry import trace

            self.tracer_provider = sdk.create_tracer_provider(
                prepared.resource, self._runs, with_content=prepared.captures_content
            )
            if self._make_global:
                trace.set_tracer_provider(self.tracer_provider)
        if prepared.span_exporter is not None:
            from streamcanary.telemetry.otlp import exporters

            self._span_exporter = exporters.SwappableSpanExporter(
                prepared.span_exporter, self._trackers["traces"], self._sdk_log
            )
            sdk.export_spans(self.tracer_provider, self._span_exporter, self._trackers["traces"])

    def _apply_metrics(self, prepared: _Prepared | None) -> None:
        if self._metric_exporter is not None:
            self._metric_exporter.swap(prepared.metric_exporter if prepared else None)
        elif self.meter_provider is None and prepared is not None:
            pipeline = MetricPipeline(
                settings=prepared.settings,
                exporter=prepared.metric_exporter,
                tracker=self._trackers["metrics"],
                sdk_log=self._sdk_log,
                serves_metrics=prepared.serves_metrics,
            )
            self._metric_pipeline, self._metric_exporter = pipeline, pipeline.exporter
            self.meter_provider = pipeline.create_provider(
                prepared.resource, self._max_series, by_target=self._has_reduced_series
            )
            self.scraper = pipeline.create_scraper(prepared.resource)
            if self.meter_provider is None:
                return
            meter = self.meter_provider.get_meter(names.INSTRUMENTATION_SCOPE, __version__)
            observe_process(meter)
            observe_losses(meter, list(self._trackers.values()))
            if self._make_global:
                from opentelemetry import metrics

                metrics.set_meter_provider(self.meter_provider)

    def _apply_logs(self, prepared: _Prepared | None) -> None:
        if self._log_exporter is not None:
            self._log_exporter.swap(prepared.log_exporter if prepared else None)
        elif prepared is not None and prepared.log_exporter is not None:
            from streamcanary.telemetry.otlp import exporters, log_export

            self._log_exporter = exporters.SwappableLogExporter(
                prepared.log_exporter, self._trackers["logs"], self._sdk_log
            )
            self.logger_provider = log_export.create_logger_provider(self._log_exporter, prepared.resource)
            self._log_handler = log_export.create_log_handler(self.logger_provider)
            logging.getLogger().addHandler(self._log_handler)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, within: float = SHUTDOWN_TIMEOUT) -> None:
        """Export pending data for at most ``within`` seconds, then drop the rest. A second call does nothing.

        The SDK blocks, so the signals are shut down concurrently, each in a daemon thread, which blocks neither the
        event loop nor the exit of the process.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._log_handler is not None:
            logging.getLogger().removeHandler(self._log_handler)
        if self.scraper is not None:
            self.scraper.close()
        providers: tuple[tuple[Signal, TracerProvider | MeterProvider | LoggerProvider | None], ...] = (
            ("traces", self.tracer_provider),
            ("metrics", self.meter_provider),
            ("logs", self.logger_provider),
        )
        shutdowns = [
            _ShutdownThread(self._trackers[signal], provider.shutdown)
            for signal, provider in providers
            if provider is not None
        ]
        for shutdown in shutdowns:
            shutdown.start()
        try:
            async with asyncio.timeout(within):
                for shutdown in shutdowns:
                    await shutdown.finished.wait()
        except TimeoutError:
            pass  # logged below
        for shutdown in shutdowns:
            shutdown.warn_if_incomplete()


class _ShutdownThread(threading.Thread):
    """Shuts one provider down in a daemon thread."""

    def __init__(self, tracker: ExportTracker, shutdown: Callable[[], None]) -> None:
        super().__init__(name=f"telemetry-shutdown-{tracker.signal}", daemon=True)
        self.finished = asyncio.Event()
        self._tracker = tracker
        self._lost_before = tracker.lost_batches
        self._shutdown = shutdown
        self._loop = asyncio.get_running_loop()

    def run(self) -> None:
        """Export pending data and stop."""
        self._tracker.begin_shutdown()
        try:
            self._shutdown()
        except Exception as error:  # noqa: BLE001 - the SDK passes on any exception of its parts; the process ends anyway
            _logger.warning("telemetry shutdown failed", extra={"signal": self._tracker.signal, "error": str(error)})
        with suppress(RuntimeError):  # the loop is closed: the deadline has passed
            self._loop.call_soon_threadsafe(self.finished.set)

    def warn_if_incomplete(self) -> None:
        """Warn if the last export failed or did not finish in time."""
        lost = self._tracker.lost_batches - self._lost_before
        if lost or not self.finished.is_set():
            _logger.warning(
                "last telemetry export failed",
                extra={"signal": self._tracker.signal, "endpoint": self._tracker.endpoint, "lost_batches": lost},
            )
