"""Aggregations of a metric reader whose values can be read for ``/metrics`` at any time.

The SDK's own aggregations hand their values out in a collection of everything, which takes a second for 1,000
canaries: a data point is built for each series, and exemplars are taken out of their reservoir. These aggregations keep
their values in place, count their changes, and keep the last exemplars. The same objects supply OTLP, if it is
cumulative with explicit buckets: then each measurement is aggregated once, for both.

They implement what the SDK calls on an aggregation (``aggregate``, ``collect``), and ``record``, for values that do
not come as a measurement of the SDK. Exemplars are those of sampled spans, whatever the filter of the provider says.
The SDK chooses the kind of a metric by the class of a sample, which takes no measurements.
:func:`streamcanary.telemetry.prometheus.reader.is_supported` checks at the start that the installed SDK works with
them. Importing this module imports the SDK.
"""

from bisect import bisect_left
from collections.abc import Collection
from threading import Lock
from typing import Any, Final, Protocol

from opentelemetry import metrics as api
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics._internal.aggregation import (
    _ExplicitBucketHistogramAggregation,
    _LastValueAggregation,
    _SumAggregation,
)
from opentelemetry.sdk.metrics._internal.measurement import Measurement
from opentelemetry.sdk.metrics.export import AggregationTemporality, HistogramDataPoint, NumberDataPoint
from opentelemetry.sdk.metrics.view import Aggregation
from opentelemetry.util.types import Attributes

from streamcanary.model import names
from streamcanary.telemetry.current_series import IsCurrent, is_always_current
from streamcanary.telemetry.prometheus.exemplars import KeptExemplar, exemplar_of, new_exemplars
from streamcanary.telemetry.prometheus.labels import Labels

DEFAULT_BUCKETS: Final = names.SECONDS_BUCKETS


class SeriesStore:
    """All series of one reader, by instrument.

    With ``is_exported``, collections return data points, for OTLP. While ``observed`` is a list, callbacks of
    observable instruments are called for ``/metrics``, and it receives the series that they observe. Otherwise they are
    called for a collection.
    """

    def __init__(self, *, is_exported: bool) -> None:
        self.lock = Lock()
        self.families: dict[str, Family] = {}
        self.is_exported = is_exported
        self.observed: list[NumberSeries] | None = None
        self.is_current: IsCurrent = is_always_current

    def show(self, is_current: IsCurrent) -> None:
        """Show the series that are current, and no others, in the next scrape; the others are removed.

        One that is still observed is removed later, by the next call after it was observed last.
        """
        self.is_current = is_current
        for family in self.families.copy().values():
            for series in family.series[:]:
                series.is_hidden = not is_current(family.name, series.attributes)
            family.remove_hidden()

    def family_of(self, instrument: Any) -> "Family":
        """Return the family of ``instrument``, an instrument of the SDK; it is created for the first series."""
        family = self.families.get(instrument.name)
        if family is None:
            family = Family(instrument, self)
            self.families[instrument.name] = family
        return family


class SeriesTable(Protocol):
    """Finds series by their labels."""

    def remove_hidden(self) -> "Collection[Series]":
        """Remove the series that are hidden and not observed, and return them."""
        ...


class Family:
    """The series of one instrument, with its name, unit, description and kind, and what else they have in common.

    ``bounds`` are the upper bounds of all buckets of a histogram but the last. ``series`` is another list after series
    were removed; it is changed under the lock of the store. ``tables`` have the same series.
    """

    def __init__(self, instrument: Any, store: SeriesStore) -> None:
        self.name: str = instrument.name
        self.unit: str = instrument.unit or ""
        self.description: str = instrument.description or ""
        self.kind = kind_of(instrument)
        self.series: list[Series] = []
        self.tables: list[SeriesTable] = []
        self.store = store
        self.is_observable = isinstance(instrument, api.Asynchronous)
        advised = instrument._advisory.explicit_bucket_boundaries if self.kind == "histogram" else None
        self.bounds: tuple[float, ...] = tuple(advised or DEFAULT_BUCKETS)

    def add(self, series: "Series") -> None:
        """Add a new series."""
        with self.store.lock:
            self.series.append(series)

    def remove_hidden(self) -> None:
        """Remove the series that are hidden and not observed."""
        removed = {id(series) for table in self.tables for series in table.remove_hidden()}
        if removed:
            with self.store.lock:
                self.series = [series for series in self.series if id(series) not in removed]


def kind_of(instrument: object) -> names.Kind:
    """Return the kind of ``instrument``; observable ones are of the kind of their synchronous counterparts."""
    if isinstance(instrument, (api.Counter, api.ObservableCounter)):
        return "counter"
    if isinstance(instrument, (api.UpDownCounter, api.ObservableUpDownCounter)):
        return "updowncounter"
    return "histogram" if isinstance(instrument, api.Histogram) else "gauge"


class SeriesAggregation(Aggregation):
    """Creates the aggregation of each series, and enters it in ``store``."""

    def __init__(self, store: SeriesStore) -> None:
        self._store = store

    def _create_aggregation(
        self, instrument: Any, attributes: Attributes | Labels, reservoir_factory: object, start_time_unix_nano: int
    ) -> Any:
        if attributes is None:
            return _SAMPLES[kind_of(instrument)](instrument)
        family = self._store.family_of(instrument)
        labels = attributes if isinstance(attributes, Labels) else Labels.of(attributes)
        start = start_time_unix_nano if self._store.is_exported else 0  # /metrics does not have it
        series: Series = _SERIES_BY_KIND[family.kind](family, labels, start)
        series.is_hidden = not self._store.is_current(family.name, series.attributes)
        family.add(series)
        return series


class _SumSample(_SumAggregation):
    """What the SDK asks for the kind of a counter or up-down counter; it takes no measurements."""

    def __init__(self, instrument: Any) -> None:
        # The SDK compares these two of the metrics of different views.
        self._instrument_is_monotonic = kind_of(instrument) == "counter"
        self._instrument_aggregation_temporality = (
            AggregationTemporality.CUMULATIVE
            if isinstance(instrument, api.Asynchronous)
            else AggregationTemporality.DELTA
        )


class _GaugeSample(_LastValueAggregation):
    """The same for a gauge."""

    def __init__(self, instrument: Any) -> None:
        pass


class _HistogramSample(_ExplicitBucketHistogramAggregation):
    """The same for a histogram."""

    def __init__(self, instrument: Any) -> None:
        pass


class _Series:
    """The value of one attribute set of an instrument. There may be some hundred thousand, so they have slots.

    ``version`` counts the changes of the value. ``exemplars`` are the last ones, by index of the bucket (0 without
    buckets). ``is_hidden``: the canary was removed by a reload. ``is_present``: a series of an observable instrument is
    present only in a scrape that observed it. The version of a series that was removed is negative.
    """

    __slots__ = ("_exported_until", "_start", "exemplars", "family", "is_hidden", "is_present", "labels", "version")

    def __init__(self, family: Family, labels: Labels, start: int) -> None:
        self.family = family
        self.labels = labels
        self.version = 0
        self.exemplars: dict[int, KeptExemplar] | None = None
        self.is_hidden = False
        self.is_present = not family.is_observable
        self._start = start
        self._exported_until = 0

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes, as they were measured."""
        return self.labels.attributes

    @property
    def is_shown(self) -> bool:
        """Whether it is at ``/metrics``: it has a value, and is neither hidden nor absent."""
        return self.version > 0 and self.is_present and not self.is_hidden

    @property
    def is_removable(self) -> bool:
        """Whether it is hidden, and nobody observes it any more."""
        return self.is_hidden and not (self.family.is_observable and self.is_present)

    def _keep_exemplar(self, bucket: int, value: float, context: Context | None) -> None:
        """Keep ``value`` as the exemplar of ``bucket`` if ``context`` has a sampled span."""
        if (exemplar := exemplar_of(value, context)) is not None:
            if self.exemplars is None:
                self.exemplars = {}
            self.exemplars[bucket] = exemplar

    def _new_exemplars(self, until: int) -> list[Exemplar]:
        """Return the exemplars since the last export."""
        since, self._exported_until = self._exported_until, until
        return new_exemplars(self.exemplars, since)


class NumberSeries(_Series):
    """The value of one attribute set of a counter or a gauge."""

    __slots__ = ("_is_observed", "value")

    def __init__(self, family: Family, labels: Labels, start: int) -> None:
        super().__init__(family, labels, start)
        self.value: float = 0
        self._is_observed = False

    def aggregate(self, measurement: Measurement, should_sample_exemplar: bool = True) -> None:  # noqa: FBT001, FBT002 - the SDK's signature
        """Add ``measurement``, or replace the value by an observed one."""
        if self.family.is_observable:
            self._observe(measurement.value)
        else:
            self.record(measurement.value, measurement.context)

    def record(self, value: float, context: Context | None) -> None:
        """Add ``value``, measured in ``context``."""
        with self.family.store.lock:
            self.value += value
            self.version += 1
        if self.family.kind == "counter" and self._is_failure:
            self._keep_exemplar(0, value, context)

    @property
    def _is_failure(self) -> bool:
        """Whether the series counts failures: exemplars of others are not worth their cost."""
        labels = self.labels
        return labels.get(names.ERROR_TYPE) is not None or labels.get(names.OUTCOME, "ok") != "ok"

    def _observe(self, value: float) -> None:
        if (observed := self.family.store.observed) is None:
            self._is_observed = True
        else:
            observed.append(self)
        if self.value != value or not self.version:
            self.value = value
            self.version += 1

    def collect(self, temporality: AggregationTemporality, start: int) -> Any:
        """Return the data point for OTLP; ``None`` for a value that was not observed."""
        if self.family.is_observable:
            is_observed, self._is_observed = self._is_observed, False
            if not is_observed:
                return None
        if not self.family.store.is_exported or not self.version:
            return None
        return NumberDataPoint(
            attributes=self.attributes,
            start_time_unix_nano=self._start_of_point(),
            time_unix_nano=start,
            value=self.value,
            exemplars=self._new_exemplars(start),
        )

    def _start_of_point(self) -> int:
        return self._start


class SumSeries(NumberSeries):
    """A counter or up-down counter."""

    __slots__ = ()


class GaugeSeries(NumberSeries):
    """A gauge. Gauges have no exemplars, OpenMetrics knows none for them, and no start."""

    __slots__ = ()

    def __init__(self, family: Family, labels: Labels, start: int) -> None:
        super().__init__(family, labels, 0)

    def aggregate(self, measurement: Measurement, should_sample_exemplar: bool = True) -> None:  # noqa: FBT001, FBT002 - the SDK's signature
        """Replace the value."""
        if self.family.is_observable:
            self._observe(measurement.value)
        else:
            self.record(measurement.value, measurement.context)

    def record(self, value: float, context: Context | None) -> None:
        """Replace the value by ``value``."""
        self.value = value
        self.version += 1

    def _start_of_point(self) -> None:  # type: ignore[override]
        return None


class HistogramSeries(_Series):
    """One attribute set of a histogram: the counts of its buckets, not cumulated, and the sum."""

    __slots__ = ("_highest", "_lowest", "counts", "sum")

    def __init__(self, family: Family, labels: Labels, start: int) -> None:
        super().__init__(family, labels, start)
        self.counts = [0] * (len(family.bounds) + 1)
        self.sum: float = 0.0
        self._lowest, self._highest = float("inf"), float("-inf")

    def aggregate(self, measurement: Measurement, should_sample_exemplar: bool = True) -> None:  # noqa: FBT001, FBT002 - the SDK's signature
        """Count ``measurement`` in its bucket."""
        self.record(measurement.value, measurement.context)

    def record(self, value: float, context: Context | None) -> None:
        """Count ``value``, measured in ``context``, in its bucket."""
        bucket = bisect_left(self.family.bounds, value)
        self._keep_exemplar(bucket, value, context)  # before the version, by which its text is rendered again
        with self.family.store.lock:
            self.counts[bucket] += 1
            self.sum += value
            if value < self._lowest:
                self._lowest = value
            if value > self._highest:
                self._highest = value
            self.version += 1

    def collect(self, temporality: AggregationTemporality, start: int) -> Any:
        """Return the data point for OTLP."""
        if not self.family.store.is_exported or not self.version:
            return None
        counts, total = self.snapshot()
        return HistogramDataPoint(
            attributes=self.attributes,
            start_time_unix_nano=self._start,
            time_unix_nano=start,
            count=sum(counts),
            sum=total,
            bucket_counts=counts,
            explicit_bounds=self.family.bounds,
            min=self._lowest,
            max=self._highest,
            exemplars=self._new_exemplars(start),
        )

    def snapshot(self) -> tuple[tuple[int, ...], float]:
        """Return the counts and the sum at one moment."""
        with self.family.store.lock:
            return tuple(self.counts), self.sum


Series = SumSeries | GaugeSeries | HistogramSeries
_SERIES_BY_KIND: Final[dict[names.Kind, type[SumSeries] | type[GaugeSeries] | type[HistogramSeries]]] = {
    "counter": SumSeries,
    "updowncounter": SumSeries,
    "gauge": GaugeSeries,
    "histogram": HistogramSeries,
}
_SAMPLES: Final[dict[names.Kind, Any]] = {
    "counter": _SumSample,
    "updowncounter": _SumSample,
    "gauge": _GaugeSample,
    "histogram": _HistogramSample,
}
