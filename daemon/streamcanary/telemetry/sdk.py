"""Creates the resource and the providers of the OpenTelemetry SDK. Importing this module imports the SDK."""

from collections.abc import Mapping, Sequence

from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    TraceBasedExemplarFilter,
    UpDownCounter,
    _Gauge,
)
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from streamcanary.model import names
from streamcanary.telemetry.otlp.export_failures import ExportTracker
from streamcanary.telemetry.runs.recorder import RecordAll, RunRecorder
from streamcanary.telemetry.runs.store import RunStore

_MAX_QUEUED_SPANS = 4096  # when the queue is full, the oldest spans are dropped
_MAX_SPANS_PER_EXPORT = 512
_EXPORT_DELAY = 2.0  # seconds between two exports of a partial batch
_MAX_ATTRIBUTE_LENGTH = 2048  # characters; a provider chooses some of the values
_MAX_CONTENT_LENGTH = 32_768  # characters; the text is bounded to an eighth, but a cut JSON would be none


def create_resource(detected: Mapping[str, str], configured: Mapping[str, str]) -> Resource:
    """Return the resource: ``detected`` attributes, overridden by environment variables, then by ``configured`` ones.

    The variables are ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``.
    """
    return Resource.create({**detected, **OTELResourceDetector().detect().attributes, **configured})


def create_tracer_provider(
    resource: Resource, runs: RunStore | None = None, *, with_content: bool = False
) -> TracerProvider:
    """Return a provider without exporter. ``runs`` keeps every run, whatever part is sampled for export.

    ``with_content``: attributes may be as long as those with prompts and answers are.
    """
    provider = TracerProvider(
        resource=resource,
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_attribute_length=_MAX_CONTENT_LENGTH if with_content else _MAX_ATTRIBUTE_LENGTH),
    )
    if runs is not None:
        provider.sampler = RecordAll(provider.sampler)
        provider.add_span_processor(RunRecorder(runs, has_content=with_content))
    return provider


class _SpanQueue(BatchSpanProcessor):
    """A queue of spans that reports each span to the tracker."""

    def __init__(self, exporter: SpanExporter, tracker: ExportTracker) -> None:
        super().__init__(
            exporter,
            max_queue_size=_MAX_QUEUED_SPANS,
            max_export_batch_size=_MAX_SPANS_PER_EXPORT,
            schedule_delay_millis=_EXPORT_DELAY * 1000,
        )
        self._tracker = tracker

    def on_end(self, span: ReadableSpan) -> None:
        """Queue ``span`` if it is sampled."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._tracker.record_queued(_MAX_QUEUED_SPANS)
        super().on_end(span)


def export_spans(provider: TracerProvider, exporter: SpanExporter, tracker: ExportTracker) -> None:
    """Let ``provider`` queue spans, at most 4,096, and export them in batches every two seconds."""
    provider.add_span_processor(_SpanQueue(exporter, tracker))


def create_exporting_reader(exporter: MetricExporter, *, interval: float, timeout: float) -> MetricReader:
    """Return a reader that exports every ``interval`` seconds, for at most ``timeout`` seconds."""
    return PeriodicExportingMetricReader(
        exporter, export_interval_millis=interval * 1000, export_timeout_millis=timeout * 1000
    )


class _AllButCanary(set[str]):
    """All names of attributes but ``canary``."""

    def __contains__(self, name: object) -> bool:
        return name != names.CANARY


def create_meter_provider(
    readers: Sequence[MetricReader], resource: Resource, *, max_series: int, by_target: bool = False
) -> MeterProvider:
    """Return a provider with ``readers``. ``by_target``: histograms of canaries do not have the label ``canary``.

    A metric has at most ``max_series`` attribute sets; further ones are merged into ``otel.metric.overflow=true``. A
    measurement whose context has a sampled span becomes an exemplar. The buckets of a histogram are those that its
    instrument advises, unless its reader prefers exponential ones.
    """
    views = [View(instrument_name="*", aggregation_cardinality_limit=max_series)]
    if by_target:
        others = (Counter, UpDownCounter, _Gauge, ObservableCounter, ObservableUpDownCounter, ObservableGauge)
        views = [
            View(instrument_type=Histogram, attribute_keys=_AllButCanary(), aggregation_cardinality_limit=max_series),
            *(View(instrument_type=each, aggregation_cardinality_limit=max_series) for each in others),
        ]
    return MeterProvider(
        readers, resource=resource, shutdown_on_exit=False, views=views, exemplar_filter=TraceBasedExemplarFilter()
    )
