"""Calls the callbacks of observable instruments for ``/metrics``. Importing this module imports the SDK.

A collection of the SDK would call them too, and then visit every series of every instrument. It takes 10 µs for each
observation besides, mostly to find its series by the attributes.
"""

import logging
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from opentelemetry.context import get_current
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics._internal.measurement import Measurement
from opentelemetry.sdk.metrics.export import MetricReader

from streamcanary.telemetry.prometheus.series import NumberSeries, SeriesStore

_logger = logging.getLogger(__name__)
_OPTIONS = CallbackOptions()


class _Known(NamedTuple):
    """The last observations of an instrument, and the series of each: two lists, which take less than a table."""

    observations: list[Observation]
    series: list[NumberSeries]


class Observer:
    """Observes the instruments of one reader; their series in ``store`` have the values of the last observation.

    An observation that is the same object as in the last scrape is skipped: a callback that returns its former objects
    as long as nothing changes costs little. Series that are no longer observed are hidden.
    """

    def __init__(self, store: SeriesStore, reader: MetricReader) -> None:
        self._store = store
        self._reader = reader
        self._known: dict[Any, _Known] = {}  # by instrument

    def observe(self) -> None:
        """Call all callbacks."""
        collect: Any = self._reader._collect
        if collect is None:  # the provider has been shut down
            return
        consumer = collect.__self__
        with consumer._lock:  # no collection runs meanwhile
            storage = consumer._reader_storages[self._reader]
            for instrument in consumer._async_instruments:
                self._observe_instrument(instrument, storage)

    def _observe_instrument(self, instrument: Any, storage: Any) -> None:
        before = self._known.get(instrument) or _Known([], [])
        # An id is unique as long as its observation is kept.
        series_by_id = dict(zip(map(id, before.observations), before.series, strict=True))
        known = _Known([], [])
        for observation in _observations_of(instrument):
            series = series_by_id.get(id(observation))
            if series is None or series.version < 0:  # a removed one
                series = self._series_of(instrument, observation, storage)
            if series is not None:
                known.observations.append(observation)
                known.series.append(series)
        self._known[instrument] = known
        if known.series == before.series:
            return
        present, present_before = set(known.series), set(before.series)
        for series in present_before - present:
            series.is_present = False
        for series in present - present_before:
            series.is_present = True

    def _series_of(self, instrument: Any, observation: Observation, storage: Any) -> NumberSeries | None:
        """Pass ``observation`` to its series, and return that; ``None`` if it is not finite."""
        if not math.isfinite(observation.value):
            return None
        context = observation.context or get_current()
        measurement = Measurement(observation.value, time.time_ns(), instrument, context, observation.attributes)
        observed: list[NumberSeries] = []
        self._store.observed = observed
        try:
            storage.consume_measurement(measurement, False)  # noqa: FBT003 - the SDK's signature
        finally:
            self._store.observed = None
        return observed[-1]


def _observations_of(instrument: Any) -> Iterator[Observation]:
    """Yield what the callbacks of ``instrument`` return, as the SDK does."""
    if not instrument._is_enabled():
        return
    for callback in instrument._callbacks:
        try:
            yield from callback(_OPTIONS)
        except Exception:  # logged: a callback that fails costs its own metric only
            _logger.exception("metric callback failed", extra={"metric": instrument.name})
