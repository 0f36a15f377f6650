"""The SDK's storage of a reader, with series that take a fifth of the memory.

The SDK finds the series of a measurement by a key of nested tuples, one for each attribute, which takes four times the
memory of the series itself, and some microseconds for each measurement. Importing this module imports the SDK.
"""

from time import time_ns
from typing import Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics._internal._view_instrument_match import _ViewInstrumentMatch
from opentelemetry.sdk.metrics._internal.measurement import Measurement
from opentelemetry.sdk.metrics._internal.metric_reader_storage import MetricReaderStorage
from opentelemetry.sdk.metrics.export import MetricReader

from streamcanary.telemetry.prometheus.labels import Labels

_OVERFLOW: Final = Labels.of({"otel.metric.overflow": True})


class _SeriesTable(_ViewInstrumentMatch):
    """The series of one instrument, by their labels."""

    def consume_measurement(self, measurement: Measurement, should_sample_exemplar: bool = True) -> None:  # noqa: FBT001, FBT002 - the SDK's signature
        """Add ``measurement`` to its series."""
        attributes, kept = measurement.attributes or {}, self._view._attribute_keys
        if kept is not None:
            attributes = {name: value for name, value in attributes.items() if name in kept}
        labels = Labels.of(attributes)
        table: dict[Any, Any] = self._attributes_aggregation
        series = table.get(labels)
        if series is None:
            with self._lock:
                series = table.get(labels) or self._create(table, labels)
        series.aggregate(measurement, should_sample_exemplar)

    def _create(self, table: dict[Any, Any], labels: Labels) -> Any:
        """Return a new series; over the limit of series, the one that all further attributes share."""
        if len(table) >= self._cardinality_limit:
            labels = _OVERFLOW
            if labels in table:
                return table[labels]
        aggregation = self._instrument_class_aggregation[self._instrument.__class__]
        table[labels] = aggregation._create_aggregation(
            self._instrument,
            labels,  # type: ignore[arg-type] # the aggregations of this package take them
            self._view._exemplar_reservoir_factory,
            time_ns(),
        )
        return table[labels]


class _SeriesStorage(MetricReaderStorage):
    def _new_view_instrument_match(self, view: Any, instrument: Any) -> _ViewInstrumentMatch:
        match = super()._new_view_instrument_match(view, instrument)
        match.__class__ = _SeriesTable  # the constructor of the SDK chooses the class
        return match


def use_compact_series(provider: MeterProvider, reader: MetricReader) -> None:
    """Let ``provider``, which is new, keep the series of ``reader``, with the aggregations of this package, compactly.

    Raises:
        AttributeError, KeyError: if the SDK is not as expected.
    """
    storages: dict[Any, MetricReaderStorage] = dict(provider._measurement_consumer._reader_storages)
    storages[reader].__class__ = _SeriesStorage
