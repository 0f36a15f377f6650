"""What the canaries measure of themselves, through the OpenTelemetry API."""

from opentelemetry import metrics
from opentelemetry.context import Context

from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome, OutcomeKind

_WELL = frozenset({OutcomeKind.OK, OutcomeKind.SLOW})


class CanaryInstruments:
    """Counters and gauges of runs; one set serves all canaries."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        meter = metrics.get_meter(names.SCOPE)

        def counter(metric: names.Metric) -> metrics.Counter:
            return meter.create_counter(metric.name, metric.unit, metric.description)

        self._runs = counter(names.RUNS)
        self._missed = counter(names.RUNS_MISSED)
        self._tokens = counter(names.TOKENS)
        self._lag = meter.create_histogram(
            names.SCHEDULE_LAG.name,
            names.SCHEDULE_LAG.unit,
            names.SCHEDULE_LAG.description,
            explicit_bucket_boundaries_advisory=names.SCHEDULE_LAG.buckets,
        )
        self._last_run, self._last_success, self._info = (
            meter.create_gauge(metric.name, metric.unit, metric.description)
            for metric in (names.LAST_RUN, names.LAST_SUCCESS, names.CANARY_INFO)
        )

    def introduce(self, canary: Canary) -> None:
        """Start the counters of ``canary`` at zero: where a series begins at one, the first error shows no increase."""
        labels = _labels(canary)
        for kind in OutcomeKind:
            self._runs.add(0, {**labels, names.OUTCOME: kind.value})
        for reason in ("late", "overlap", "shutdown"):
            self._missed.add(0, {**labels, names.REASON: reason})
        self._info.set(1, {**canary.labels, **labels})

    def ran(self, canary: Canary, outcome: Outcome, context: Context) -> None:
        """Count a run that has ended."""
        labels = _labels(canary)
        result = {**labels, names.OUTCOME: outcome.kind.value}
        if outcome.fault is not None:
            result[names.ERROR_TYPE] = outcome.fault.kind.value
        self._runs.add(1, result, context)
        if outcome.kind is OutcomeKind.SKIPPED:
            return
        self._lag.record(max(0.0, outcome.started - outcome.scheduled), labels, context)
        self._last_run.set(self._clock.time(), labels)
        if outcome.kind in _WELL:
            self._last_success.set(self._clock.time(), labels)
        if outcome.usage is not None:
            self._tokens.add(outcome.usage.input_tokens, {**labels, "type": "input"}, context)
            self._tokens.add(outcome.usage.output_tokens, {**labels, "type": "output"}, context)

    def missed(self, canary: Canary, reason: str, count: int = 1) -> None:
        """Count runs that were due and did not happen: ``late``, ``overlap`` or ``shutdown``."""
        self._missed.add(count, {**_labels(canary), names.REASON: reason})


def _labels(canary: Canary) -> dict[str, str]:
    return {names.CANARY: canary.name, names.TARGET: canary.target, names.PROVIDER_LABEL: canary.provider}
