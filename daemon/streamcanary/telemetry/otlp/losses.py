"""The counter of lost spans, data points and log records, from the trackers of the exports."""

from collections.abc import Iterable, Sequence

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from streamcanary.model import names
from streamcanary.telemetry.otlp.export_failures import ExportTracker


def observe_losses(meter: Meter, trackers: Sequence[ExportTracker]) -> None:
    """Let ``meter`` observe the losses of the signals that have an endpoint; ``/metrics`` has them without OTLP."""

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        for tracker in trackers:
            if tracker.endpoint:
                for reason, items in tracker.lost_items.items():
                    yield Observation(items, {names.SIGNAL: tracker.signal, names.REASON: reason})

    metric = names.TELEMETRY_LOST
    meter.create_observable_counter(metric.name, [observe], metric.unit, metric.description)
